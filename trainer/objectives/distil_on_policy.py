"""Distillation on the student's own replies, so that it learns what to do where its own mistakes lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.objectives._objective import Loss
from windtunnel.trainer.objectives._on_policy import OnPolicy
from windtunnel.trainer.objectives._rounds import Lesson
from windtunnel.trainer.objectives._teacher import Taught, distillation_loss
from windtunnel.trainer.rollouts.round import Round

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DistilOnPolicy(Taught, OnPolicy):
    """Generalised knowledge distillation (Agarwal et al. 2023, arXiv 2306.13649) with replies of the student alone.

    `teacher` is one of the recipe's models, with the student's tokenizer. `divergence` 0 is KL(teacher || student), 1
    is KL(student || teacher). No gradient goes through the sampling, and no reward is asked for unless one is named.
    """

    unit: ClassVar[str] = "nats per token"
    examples: ClassVar = ({"teacher": "teacher", "prompts": 8, "max_tokens": 8},)

    teacher: str
    reward: None = None
    samples: int = Field(1, ge=1)
    beta: float = Field(0.0, ge=0, le=0)  # nothing pulls to the initial model: its KL is only measured
    target_kl: None = None
    divergence: float = Field(1.0, ge=0, le=1)

    def lesson(self, made: Round, beta: float) -> Lesson:
        """Return nothing beside the replies."""
        return Lesson({}, {})

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed divergence over the tokens of the micro-batch's replies."""
        return distillation_loss(model, batch, self.divergence, self.temperature)
