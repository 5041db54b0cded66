"""REINFORCE with the other replies to the same prompt as the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.objectives._objective import Loss
from windtunnel.trainer.objectives._on_policy import OnPolicy
from windtunnel.trainer.objectives._rounds import Lesson, log_probs
from windtunnel.trainer.rollouts.round import Round

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Rloo(OnPolicy):
    """RLOO (Ahmadian et al. 2024, arXiv 2402.14740): a whole reply is one action, and its KL is part of its reward.

    The ratio of a reply's probabilities is clipped as in PPO, which matters with several steps a round only.
    """

    unit: ClassVar[str] = "the units of its form, per reply"
    examples: ClassVar = ({"reward": {"length": 3}, "samples": 4, "prompts": 8, "max_tokens": 8},)

    samples: int = Field(4, ge=2)
    clip_ratio: float = Field(0.2, gt=0, lt=1)

    def lesson(self, made: Round, beta: float) -> Lesson:
        """Return the inputs of the loss: the advantage and the old log-probability of each reply."""
        from windtunnel.trainer.losses.policy import leave_one_out

        scores = (made.rewards - beta * made.kl).reshape(-1, made.samples)
        old = np.array([values.sum() for values in made.old])
        return Lesson({}, {"advantages": leave_one_out(scores).reshape(-1), "old": old})

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's replies."""
        from windtunnel.trainer.losses.policy import clipped_loss
        from windtunnel.trainer.losses.target_logps import sum_by_owner

        given: dict[str, Any] = {name: tensor.to(model.device) for name, tensor in batch.tensors.items()}
        logps = log_probs(model, batch.tensors, self.temperature)
        whole = sum_by_owner(logps, given["owners"], len(given["old"]))
        losses, clipped = clipped_loss(whole, given["old"], given["advantages"], self.clip_ratio, self.clip_ratio)
        return Loss(losses.sum(), float(len(losses)), {"clipped": clipped.sum()})
