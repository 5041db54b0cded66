"""Supervised fine-tuning: the negative log-likelihood of every assistant turn, and of nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.objectives._chat_objective import ChatObjective
from windtunnel.trainer.objectives._objective import Loss, Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Sft(ChatObjective):
    """Cross-entropy on the tokens of assistant turns, in nats, normalised by their number over the whole step.

    Not a mean over micro-batches of means: a token weighs the same in a short answer and in a long one, and the step
    does not depend on how it is cut into micro-batches.
    """

    version: ClassVar[int] = 3

    lr: float = Field(2e-5, gt=0)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's learnt tokens."""
        from windtunnel.trainer.losses.target_logps import summed_target_nats

        return Loss(summed_target_nats(model, batch.tensors), float(len(batch.tensors["labels"])), {})

    def judge(self, model: PreTrainedModel, setting: Setting, rows: Rows, share: bool, path: Path) -> dict[str, float]:
        """Say which answer of each held-out pair the model finds likelier per byte: there is no reference here."""
        from windtunnel.trainer.eval.chat_evaluate import score_preferences

        return score_preferences(model, rows, self.micro_tokens, share, path)
