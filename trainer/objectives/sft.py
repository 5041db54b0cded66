"""Supervised fine-tuning: the negative log-likelihood of the assistant turns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.eval.chat_evaluate import score_preferences
from windtunnel.trainer.objectives._chat_objective import ChatObjective
from windtunnel.trainer.objectives._objective import Loss, Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Sft(ChatObjective):
    """Cross-entropy on the tokens of assistant turns in nats, normalised by their number over the whole step.

    Every token has the same weight in short and long answers, and the step does not depend on its micro-batches.
    """

    version: ClassVar[int] = 5

    lr: float = Field(2e-5, gt=0)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's target tokens."""
        from windtunnel.trainer.losses.target_logps import summed_target_nats

        return Loss(summed_target_nats(model, batch.tensors), float(len(batch.tensors["labels"])), {})

    def judge(self, model: PreTrainedModel, setting: Setting, rows: Rows, share: bool, path: Path) -> dict[str, float]:
        """Score held-out pairs by the log-likelihood per byte, since there is no reference."""
        return score_preferences(model, rows, self.micro_tokens, share, path)
