"""Next-token prediction over a mix of corpora: pretraining."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.encoder import Encoder
from windtunnel.trainer.modules.heads import output_weight
from windtunnel.trainer.modules.routing import routed_hidden_states
from windtunnel.trainer.objectives._mix_objective import MixObjective
from windtunnel.trainer.objectives._objective import Loss, Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class CausalLM(MixObjective):
    """Cross-entropy of each next token, in nats per token; inputs are a mix, its tokens, and the held-out set."""

    version: ClassVar[int] = 3
    lr: float = Field(3e-3, gt=0)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        from windtunnel.trainer.losses.cross_entropy import summed_nats

        ids = batch.tensors["ids"]
        targets = ids[:, 1:].flatten()
        routed = routed_hidden_states(model, ids[:, :-1])
        total = summed_nats(routed.hidden.flatten(0, 1), output_weight(model), targets)
        if routed.balance is not None:
            total = total + routed.balance * len(targets)
        return Loss(total, len(targets), {name: value * len(targets) for name, value in routed.metrics.items()})

    def nats(
        self, model: PreTrainedModel, documents: list[np.ndarray], encoder: Encoder, setting: Setting
    ) -> np.ndarray:
        from windtunnel.trainer.eval.evaluate import document_nats

        return document_nats(model, documents, encoder.end_of_text, setting.context)

    def metrics(
        self,
        model: PreTrainedModel,
        documents: list[np.ndarray],
        sizes: np.ndarray,
        encoder: Encoder,
        setting: Setting,
        out: Path,
    ) -> dict[str, float]:
        if "choices" not in setting.inputs:
            return {}
        from windtunnel.trainer.eval.choices import score_choices

        return score_choices(model, setting.inputs["choices"], encoder, setting.context, out / "choices.parquet")
