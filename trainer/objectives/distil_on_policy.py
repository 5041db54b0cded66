"""Distillation on the student's own replies, so that it learns what to do where its own mistakes lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.objectives._objective import Data, Loss, Setting
from windtunnel.trainer.objectives._on_policy import OnPolicy
from windtunnel.trainer.objectives._rounds import Lesson, Rounds
from windtunnel.trainer.objectives._teacher import TEACHER, distillation_loss, relative_size, teacher_of
from windtunnel.trainer.rollouts.round import Round

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DistilOnPolicy(OnPolicy):
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

    def models(self) -> tuple[str, ...]:
        return (self.teacher,)

    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        """Encode the prompts, and load the teacher."""
        data = super().open(setting, model)
        assert isinstance(data, Rounds)
        data.further = teacher_of(self.teacher, setting, model)
        data.read_further = relative_size(data.further, model)
        return data

    def beside(self, model: PreTrainedModel, data: Data) -> None:
        """Put the teacher beside the student; it does not train."""
        setattr(model, TEACHER, data.further)  # type: ignore[attr-defined]

    def alone(self, model: PreTrainedModel) -> None:
        """Take the teacher away."""
        if hasattr(model, TEACHER):
            delattr(model, TEACHER)

    def lesson(self, made: Round, beta: float) -> Lesson:
        """Return nothing beside the replies."""
        return Lesson({}, {})

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed divergence over the tokens of the micro-batch's replies."""
        return distillation_loss(model, batch, self.divergence, self.temperature)
