"""The base class of objectives on pairs that compare log-likelihoods per token, without a reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.eval.chat_evaluate import answer_logps, write_preferences
from windtunnel.trainer.objectives._chat_objective import ChatObjective
from windtunnel.trainer.objectives._objective import Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class UnreferencedObjective(ChatObjective):
    """Judges held-out pairs by what is trained: the mean log-likelihood of an answer's tokens."""

    kind: ClassVar = "preferences"
    unit: ClassVar[str] = "nats per pair"
    dropout: ClassVar[bool] = False  # noise would be added to the comparison of two answers

    def judge(self, model: PreTrainedModel, setting: Setting, rows: Rows, share: bool, path: Path) -> dict[str, float]:
        """Score held-out pairs by the log-likelihood per token."""
        logps, tokens = answer_logps(model, rows, self.micro_tokens, share)
        return write_preferences(rows, logps / tokens, "nats_per_token", path)
