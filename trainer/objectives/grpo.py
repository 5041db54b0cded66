"""Group-relative policy optimisation: replies to one prompt are judged against one another, without a value model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.objectives._objective import Loss
from windtunnel.trainer.objectives._on_policy import OnPolicy
from windtunnel.trainer.objectives._rounds import Lesson, log_probs
from windtunnel.trainer.rollouts.round import Round

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Grpo(OnPolicy):
    """GRPO (Shao et al. 2024, arXiv 2402.03300): clipped ratios times group-relative rewards, plus beta times a KL.

    The KL term is Schulman's k3 per token, times the ratio where `unbiased`: its gradient is then that of the KL
    divergence (DeepSeek-V3.2, arXiv 2512.02556), which that of k3 alone, as in the paper, is not. `per` says what has
    one weight: a token of the step (DAPO, arXiv 2503.14476), a reply (the paper's own form, in which tokens of long
    replies count less), or a reply of `max_tokens` (Dr. GRPO, arXiv 2503.20783). `scale` is the deviation that rewards
    are divided by.
    """

    examples: ClassVar = (
        {"reward": {"length": 3}, "samples": 4, "prompts": 8, "max_tokens": 8},
        {"reward": {"length": 3}, "per": "reply", "scale": "none", "samples": 4, "prompts": 8, "max_tokens": 8},
    )

    samples: int = Field(8, ge=2)
    beta: float = Field(0.01, ge=0)
    per: Literal["token", "reply", "constant"] = "token"
    scale: Literal["group", "batch", "none"] = "group"
    unbiased: bool = True
    clip_low: float = Field(0.2, gt=0)
    clip_high: float = Field(0.2, gt=0)  # 0.28 in DAPO

    @model_validator(mode="after")
    def _below_one(self) -> Grpo:
        if self.clip_low >= 1:
            raise ValueError("`clip_low` is below 1: the ratio of probabilities cannot be negative")
        return self

    def lesson(self, made: Round, beta: float) -> Lesson:
        """Return the inputs of the loss: advantages by token, the weights of tokens, and the KL's."""
        from windtunnel.trainer.losses.policy import group_advantages

        advantages = group_advantages(made.groups, self.scale).reshape(-1)
        tokens = made.tokens
        weights = {
            "token": np.ones(len(tokens)),
            "reply": 1 / tokens,
            "constant": np.full(len(tokens), 1 / self.max_tokens),
        }
        spread = [np.full(n, a) for n, a in zip(tokens, advantages, strict=True)]
        per_token = {"advantages": spread, "old": made.old, "reference": made.reference}
        return Lesson(per_token, {"weights": weights[self.per], "beta": np.full(len(tokens), beta)})

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's tokens."""
        from windtunnel.trainer.losses.policy import clipped_loss, kl_k3

        given: dict[str, Any] = {name: tensor.to(model.device) for name, tensor in batch.tensors.items()}
        logps = log_probs(model, batch.tensors, self.temperature)
        losses, clipped = clipped_loss(logps, given["old"], given["advantages"], self.clip_low, self.clip_high)
        kl = kl_k3(logps, given["reference"])
        losses = losses + given["beta"][0] * (kl * (logps - given["old"]).exp() if self.unbiased else kl)
        weights = given["weights"][given["owners"]]
        units = float(len(logps) if self.per == "token" else len(given["weights"]))
        share = units / len(logps)  # metrics are divided by the units, and this is a share of the tokens
        return Loss((weights * losses).sum(), units, {"clipped": clipped.sum() * share})
