"""Direct preference optimisation: increases the likelihood of chosen over rejected answers relative to a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.objectives._chat_objective import REFERENCE
from windtunnel.trainer.objectives._objective import Loss, Setting
from windtunnel.trainer.objectives._referenced import ReferencedObjective

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Form = Literal[
    "sigmoid", "robust", "hinge", "ipo", "exo_pair", "nca_pair", "apo_zero", "apo_down", "sppo_hard", "discopop"
]


class Dpo(ReferencedObjective):
    """DPO and related losses on log-ratios to the stage's initial model, normalised by the number of pairs.

    The reference log-probabilities are computed before the first step and cached by content, so that training needs
    neither the reference model nor a second forward pass.
    """

    version: ClassVar[int] = 6
    kind: ClassVar = "preferences"
    unit: ClassVar[str] = "the units of its form, per pair"

    examples: ClassVar = (
        {},
        {"form": "ipo", "beta": 0.2},
        {"form": "hinge"},
        {"form": "robust", "label_smoothing": 0.1},
        {"form": "nca_pair", "length_normalised": True},
        {"form": "exo_pair", "label_smoothing": 0.05},
    )

    form: Form = "sigmoid"
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)  # probability of a wrong label
    length_normalised: bool = False  # log-ratios per token of each answer, which takes a larger beta

    @model_validator(mode="after")
    def _check_form(self) -> Dpo:
        if self.form == "ipo" and self.length_normalised:
            raise ValueError("`ipo` is length-normalised: leave out `length_normalised`")
        if self.form == "exo_pair" and not self.label_smoothing:
            raise ValueError(
                "`exo_pair` needs `label_smoothing` above 0, such as 0.001: without it the loss is infinite"
            )
        return self

    @property
    def per_token(self) -> bool:
        """Whether the loss compares log-ratios per token, and rewards with it."""
        return self.length_normalised or self.form == "ipo"

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's pairs."""
        from windtunnel.trainer.losses.preference import LOSSES, Pairs, pair_metrics
        from windtunnel.trainer.losses.target_logps import answer_sums

        logps, tokens = answer_sums(model, batch.tensors, 2)
        ratios = logps - batch.tensors["reference"].to(logps.device)
        pairs = Pairs(*ratios.unbind(1), *tokens.unbind(1))
        given = pairs.per_token if self.length_normalised else pairs
        losses = LOSSES[self.form](given, self.beta, self.label_smoothing)
        rewards = self.beta * (ratios / tokens if self.per_token else ratios)
        return Loss(losses.sum(), float(len(losses)), pair_metrics(rewards))

    def extra(self, setting: Setting, model: PreTrainedModel, rows: Rows) -> dict[str, np.ndarray]:
        """Return the reference log-probabilities, float32 [rows, 2]."""
        return {REFERENCE: self.references(setting, model, rows)}
