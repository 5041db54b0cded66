"""A reward model: a scalar per answer, trained on preference pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field, model_validator

from windtunnel.schemas.plugin import label
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.deltas._delta import Delta
from windtunnel.trainer.eval.chat_evaluate import write_preferences
from windtunnel.trainer.objectives._chat_objective import ChatObjective
from windtunnel.trainer.objectives._objective import Data, Evaluation, Loss, Setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Reward(ChatObjective):
    """Bradley-Terry on a sequence-classification head with one output (Ouyang et al. 2022), normalised by pairs."""

    version: ClassVar[int] = 6
    kind: ClassVar = "preferences"
    unit: ClassVar[str] = "nats per pair"
    scores: ClassVar[bool] = False
    aside: ClassVar[bool] = True
    dropout: ClassVar[bool] = False  # dropout would add noise to the difference of rewards

    examples: ClassVar = ({"margin": 0.2, "centering": 0.01},)

    lr: float = Field(1e-5, gt=0)
    margin: float = Field(0.0, ge=0)  # required margin per point of difference between the ratings
    centering: float = Field(0.0, ge=0)  # weight of the squared sum of both rewards; 0.01 centres them at zero

    @model_validator(mode="after")
    def _check_delta(self) -> Reward:
        for delta in self.deltas():
            if reason := self.refuses(delta):
                raise ValueError(reason)
        return self

    def refuses(self, delta: Delta) -> str | None:
        if delta.shares_bins:
            return None
        return f"a reward head reads the body's states, and {label(delta)!r} works outside the body; use lora"

    def adopt(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with a reward head in place of its language-model head."""
        from windtunnel.trainer.rewards._reward_model import with_reward_head

        return with_reward_head(model)

    def open(self, setting: Setting, model: PreTrainedModel) -> Data:
        """Return the stage's pairs; sets the padding token so that transformers reads the reward at the same token."""
        from windtunnel.trainer.rewards._reward_model import choose_padding

        data = super().open(setting, model)
        choose_padding(setting.tokenizer, model)
        return data

    def extra(self, setting: Setting, model: PreTrainedModel, rows: Rows) -> dict[str, np.ndarray]:
        """Return the required margin of every pair, 0 for a pair without two ratings."""
        return {"asked": (self.margin * np.nan_to_num(rows.margins)).astype(np.float32)}

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's pairs."""
        from windtunnel.trainer.losses.preference import pair_metrics, reward_loss
        from windtunnel.trainer.rewards._reward_model import rewards

        scores = rewards(model, batch.tensors).view(-1, 2)
        chosen, rejected = scores.unbind(1)
        losses = reward_loss(chosen, rejected, batch.tensors["asked"].to(chosen.device), self.centering)
        return Loss(losses.sum(), float(len(losses)), pair_metrics(scores))

    def evaluate(self, model: PreTrainedModel, setting: Setting, out: Path) -> Evaluation:
        """Score held-out pairs; conversations cannot be scored without a language-model head."""
        if "held_out_preferences" not in setting.inputs:
            return Evaluation({})
        rows = self.rows(setting, "held_out_preferences")
        share = self.shares(model, setting)
        return Evaluation({}, self.judge(model, setting, rows, share, out / "preferences.parquet"))

    def judge(self, model: PreTrainedModel, setting: Setting, rows: Rows, share: bool, path: Path) -> dict[str, float]:
        """Score held-out pairs by the reward head."""
        from windtunnel.trainer.rewards._reward_model import pair_rewards

        return write_preferences(rows, pair_rewards(model, rows, self.micro_tokens, share), "reward", path)
