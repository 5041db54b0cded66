"""The base class of objectives on log-ratios to a reference, the stage's initial model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.eval.chat_evaluate import answer_logps, write_preferences
from windtunnel.trainer.objectives._chat_objective import ChatObjective
from windtunnel.trainer.objectives._objective import Setting
from windtunnel.trainer.objectives._reference_logps import keep, kept, reference_logps

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ReferencedObjective(ChatObjective):
    """Judges held-out pairs by the implicit reward: beta times the log-ratio of an answer to the reference."""

    dropout: ClassVar[bool] = False  # the log-ratio compares the policy with a reference without dropout

    lr: float = Field(5e-7, gt=0)
    beta: float = Field(0.1, gt=0)  # strength of the regularisation towards the reference; tau of IPO

    @property
    def per_token(self) -> bool:
        """Whether rewards are means over an answer's tokens, not sums."""
        return False

    def references(self, setting: Setting, model: PreTrainedModel, rows: Rows) -> np.ndarray:
        """Return the reference log-probabilities of rows, and cache those of held-out pairs for their evaluation."""
        share = self.shares(model, setting)
        if "held_out_preferences" in setting.inputs:
            held_out = self.rows(setting, "held_out_preferences")
            keep("held_out", reference_logps(model, held_out, self.micro_tokens, share, setting.cache), setting.cache)
        return reference_logps(model, rows, self.micro_tokens, share, setting.cache)

    def judge(self, model: PreTrainedModel, setting: Setting, rows: Rows, share: bool, path: Path) -> dict[str, float]:
        """Score held-out pairs by the implicit reward."""
        logps, tokens = answer_logps(model, rows, self.micro_tokens, share)
        rewards = self.beta * (logps - kept("held_out", setting.cache))
        if self.per_token:
            return write_preferences(rows, rewards / tokens, "implicit_reward_per_token", path)
        return write_preferences(rows, rewards, "implicit_reward", path)
