"""Prefix language modelling over a mix of corpora: the beginning of a row is read in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.modules.heads import output_weight
from windtunnel.trainer.modules.routing import routed_hidden_states
from windtunnel.trainer.objectives._mix_objective import Corruption, LikelihoodObjective
from windtunnel.trainer.objectives._objective import Loss, Setting

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class PrefixLM(LikelihoodObjective):
    """Cross-entropy of each token after a prefix, in nats per predicted token (Liu et al. 2018; Raffel et al. 2020).

    The length of the prefix is uniform from 1 to the context less one; its tokens attend to one another in both
    directions and are not predicted. A step therefore learns from half of its tokens. Held-out documents are scored
    without a prefix, under the plain causal mask, so that the figures are likelihoods and compare with those of
    `causal_lm`.
    """

    lr: float = Field(3e-3, gt=0)

    def corruption(self, setting: Setting, model: PreTrainedModel) -> Corruption:
        def split(ids: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray]:
            longest = ids.shape[1] - 2
            return {"ids": ids, "prefix": 1 + (generator.random(len(ids)) * longest).astype(np.int64)}

        return split

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the tokens after the prefixes."""
        from windtunnel.trainer.losses.cross_entropy import summed_nats

        ids, prefix = batch.tensors["ids"], batch.tensors["prefix"]
        attended, predicts = _masks(prefix, ids.shape[1] - 1)
        routed = routed_hidden_states(model, ids[:, :-1], attention_mask=attended)
        targets = ids[:, 1:][predicts]
        total = summed_nats(routed.hidden[predicts], output_weight(model), targets)
        if routed.balance is not None:
            total = total + routed.balance * len(targets)
        return Loss(total, len(targets), {name: value * len(targets) for name, value in routed.metrics.items()})


def _masks(prefix: torch.Tensor, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what each position attends to, bool [rows, 1, positions, positions], and whether it predicts.

    The last token of the prefix predicts the first after it.
    """
    import torch

    places = torch.arange(positions, device=prefix.device)
    causal = places[None, :] <= places[:, None]
    attended = causal | (places < prefix[:, None])[:, None, :]
    return attended[:, None], places >= prefix[:, None] - 1
