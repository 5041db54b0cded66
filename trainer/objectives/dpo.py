"""Direct preference optimisation: increases the likelihood of chosen over rejected answers relative to a reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.eval.chat_evaluate import score_preferences
from windtunnel.trainer.objectives._chat_objective import ChatObjective
from windtunnel.trainer.objectives._objective import Loss, Setting
from windtunnel.trainer.objectives._reference_logps import keep, kept, reference_logps

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Dpo(ChatObjective):
    """DPO and related losses on log-ratios to the stage's initial model, normalised by the number of pairs.

    The reference log-probabilities are computed before the first step and cached by content, so that training needs
    neither the reference model nor a second forward pass.
    """

    version: ClassVar[int] = 5
    kind: ClassVar = "preferences"
    unit: ClassVar[str] = "the units of its form, per pair"
    dropout: ClassVar[bool] = False  # the log-ratio compares the policy with a reference without dropout

    examples: ClassVar = (
        {},
        {"form": "ipo", "beta": 0.2},
        {"form": "hinge"},
        {"form": "robust", "label_smoothing": 0.1},
    )

    lr: float = Field(5e-7, gt=0)
    beta: float = Field(0.1, gt=0)  # strength of the regularisation towards the reference; tau of IPO
    form: Literal["sigmoid", "robust", "hinge", "ipo"] = "sigmoid"
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)  # probability of a wrong label

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's pairs."""
        import torch

        from windtunnel.trainer.losses.preference import LOSSES, Pairs
        from windtunnel.trainer.losses.target_logps import sum_by_owner, target_log_probs

        values = target_log_probs(model, batch.tensors)
        owners, reference = (batch.tensors[name].to(values.device) for name in ("owners", "reference"))
        logps = sum_by_owner(values, owners, 2 * len(reference)).view(-1, 2)
        tokens = sum_by_owner(torch.ones_like(values), owners, 2 * len(reference)).view(-1, 2)
        ratios = logps - reference
        losses = LOSSES[self.form](
            Pairs(ratios[:, 0], ratios[:, 1], tokens[:, 0], tokens[:, 1]), self.beta, self.label_smoothing
        )
        margins = (self.beta * (ratios[:, 0] - ratios[:, 1])).detach()
        metrics = {
            "accuracy": (margins > 0).sum(),
            "margin": margins.sum(),
            "reward_chosen": self.beta * ratios[:, 0].detach().sum(),
            "reward_rejected": self.beta * ratios[:, 1].detach().sum(),
        }
        return Loss(losses.sum(), float(len(losses)), metrics)

    def extra(self, setting: Setting, model: PreTrainedModel, rows: Rows) -> dict[str, np.ndarray]:
        """Return the reference log-probabilities, float32 [rows, 2]; caches those of held-out rows for evaluation."""
        share = self.shares(model, setting)
        if "held_out_preferences" in setting.inputs:
            held_out = self.rows(setting, "held_out_preferences")
            keep("held_out", reference_logps(model, held_out, self.micro_tokens, share, setting.cache), setting.cache)
        return {"reference": reference_logps(model, rows, self.micro_tokens, share, setting.cache)}

    def judge(self, model: PreTrainedModel, setting: Setting, rows: Rows, share: bool, path: Path) -> dict[str, float]:
        """Score held-out pairs by the implicit reward, beta times the log-ratio to the reference."""
        reference = kept("held_out", setting.cache)
        return score_preferences(model, rows, self.micro_tokens, share, path, reference, self.beta)
