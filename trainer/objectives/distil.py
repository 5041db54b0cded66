"""Distillation on given answers: the student learns a teacher's distributions over their tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.eval.chat_evaluate import score_preferences
from windtunnel.trainer.objectives._chat_objective import ChatObjective
from windtunnel.trainer.objectives._objective import Loss, Setting
from windtunnel.trainer.objectives._teacher import Taught, distillation_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Distil(Taught, ChatObjective):
    """Word-level distillation (Hinton et al. 2015; Kim and Rush 2016) on the assistant turns of conversations.

    `teacher` is one of the recipe's models, with the student's tokenizer; `beta` is that of `divergence`: 0 covers what
    the teacher may say, 1 seeks what it says most.
    """

    dropout: ClassVar[bool] = False
    examples: ClassVar = ({"teacher": "teacher"}, {"teacher": "teacher", "beta": 0.5, "temperature": 2.0})

    teacher: str
    lr: float = Field(2e-5, gt=0)
    beta: float = Field(0.0, ge=0, le=1)
    temperature: float = Field(1.0, gt=0)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed divergence over the micro-batch's target tokens."""
        return distillation_loss(model, batch, self.beta, self.temperature)

    def judge(self, model: PreTrainedModel, setting: Setting, rows: Rows, share: bool, path: Path) -> dict[str, Any]:
        """Score held-out pairs by the log-likelihood per byte."""
        return score_preferences(model, rows, self.micro_tokens, share, path)
