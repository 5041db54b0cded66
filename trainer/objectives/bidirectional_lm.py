"""Next-token prediction in both reading directions over a mix of corpora (ELMo)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.encoder import Encoder
from windtunnel.trainer.models._model import ModelKind
from windtunnel.trainer.modules.heads import body, output_weight
from windtunnel.trainer.objectives._mix_objective import LikelihoodObjective
from windtunnel.trainer.objectives._objective import Loss, Setting

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from windtunnel.trainer.eval.evaluate import HeldOut


class BidirectionalLM(LikelihoodObjective):
    """Sum of the cross-entropies of the next and the previous token, in nats per token (Peters et al. 2018).

    Held-out documents are scored by the forward direction alone, so that the figures are likelihoods and compare with
    those of `causal_lm`; the backward direction's bits per byte are a metric.
    """

    trains: ClassVar[tuple[ModelKind, ...]] = ("bidirectional",)
    unit: ClassVar[str] = "nats per token, the sum of both directions"

    lr: float = Field(3e-3, gt=0)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's tokens, each predicted once in each direction."""
        from windtunnel.trainer.losses.cross_entropy import summed_nats

        ids = batch.tensors["ids"]
        weight, backwards = output_weight(model), ids.flip(1)
        forward = body(model)(input_ids=ids[:, :-1]).last_hidden_state
        backward = body(model)(input_ids=backwards[:, :-1], reverse=True).backward_hidden_state
        ahead = summed_nats(forward.flatten(0, 1), weight, ids[:, 1:].flatten())
        behind = summed_nats(backward.flatten(0, 1), weight, backwards[:, 1:].flatten())
        metrics = {"forward_loss": ahead.detach(), "backward_loss": behind.detach()}
        return Loss(ahead + behind, ids[:, 1:].numel(), metrics)

    def metrics(
        self, model: PreTrainedModel, held_out: HeldOut, encoder: Encoder, setting: Setting, out: Path
    ) -> dict[str, float]:
        from windtunnel.trainer.eval.evaluate import document_nats

        def backward(model: Any, ids: torch.Tensor) -> torch.Tensor:
            return body(model)(input_ids=ids, reverse=True).backward_hidden_state

        mirrored = [tokens[::-1] for tokens in held_out.tokens]
        nats = document_nats(model, mirrored, encoder.end_of_text, setting.context, states=backward)
        more = super().metrics(model, held_out, encoder, setting, out)
        return {**more, "backward_bits_per_byte": math.fsum(nats) / math.log(2) / float(held_out.bytes.sum())}
