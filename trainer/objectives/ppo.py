"""Proximal policy optimisation with a value model, as in reinforcement learning from human feedback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from windtunnel.schemas.plugin import label
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.deltas._delta import Delta
from windtunnel.trainer.objectives._objective import Data, Loss
from windtunnel.trainer.objectives._on_policy import OnPolicy
from windtunnel.trainer.objectives._rounds import Lesson, Rounds, log_probs
from windtunnel.trainer.rollouts.round import Round

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CRITIC = "critic"  # attribute of the policy under which the value model trains beside it


class Ppo(OnPolicy):
    """PPO (Schulman et al. 2017) on tokens, as Ziegler et al. 2019 and Ouyang et al. 2022 align language models.

    The reward of a token is -beta times its log-ratio to the initial model; the last one's has the reply's reward too.
    Advantages are those of GAE, whitened over the round. The value model is a model of its own with all its weights
    trained: it begins as the reward model, where the reward is one, else as the policy with a new head that gives zero.
    """

    passes: ClassVar[int] = 2  # forward and backward, of the policy and of the value model
    examples: ClassVar = ({"reward": {"length": 3}, "samples": 2, "prompts": 8, "max_tokens": 8, "value_weight": 0.5},)

    prompts: int = Field(64, ge=1)
    samples: int = Field(1, ge=1)
    epochs: int = Field(2, ge=1)
    minibatches: int = Field(2, ge=1)
    clip_ratio: float = Field(0.2, gt=0, lt=1)
    clip_value: float = Field(0.2, gt=0)
    value_weight: float = Field(0.1, gt=0)
    gamma: float = Field(1.0, gt=0, le=1)
    lam: float = Field(0.95, ge=0, le=1)

    def refuses(self, delta: Delta) -> str | None:
        if delta.shares_bins:
            return None
        return f"the value model of `ppo` reads the states of the text, and {label(delta)!r} stands before it; use lora"

    def beside(self, model: PreTrainedModel, data: Data) -> None:
        """Put the value model beside the policy, so that both train."""
        from windtunnel.trainer.rewards._reward_model import value_model

        assert isinstance(data, Rounds)
        setattr(
            model, CRITIC, value_model(data.reference, data.places.models.get(self._model()), data.setting.tokenizer)
        )

    def alone(self, model: PreTrainedModel) -> None:
        """Take the value model away."""
        if hasattr(model, CRITIC):
            delattr(model, CRITIC)

    def learns(self, row: Mapping[str, float]) -> bool:
        """Return whether any two replies differ, since all are compared with what their values promise."""
        return row["reward_deviation"] > 0

    def look(self, made: Round, data: Rounds) -> None:
        """Add the values of the tokens to a round."""
        made.values = data.of_tokens(made, _values)

    def lesson(self, made: Round, beta: float) -> Lesson:
        """Return the inputs of the loss: whitened advantages and returns by token, with the old values."""
        from windtunnel.trainer.losses.policy import generalised_advantages, whitened

        advantages, returns = [], []
        for old, reference, values, reward in zip(made.old, made.reference, made.values, made.rewards, strict=True):
            rewards = -beta * (old - reference)
            rewards[-1] += reward
            advantage, gained = generalised_advantages(rewards, values, self.gamma, self.lam)
            advantages.append(advantage)
            returns.append(gained)
        flat, values = np.concatenate(returns), np.concatenate(made.values)
        left = float(((flat - values) ** 2).mean() / max(flat.var(), 1e-12))
        even = np.split(whitened(np.concatenate(advantages)), np.cumsum(made.tokens)[:-1])
        per_token = {"advantages": even, "returns": returns, "old": made.old, "old_values": made.values}
        return Lesson(per_token, {}, facts={"value": float(values.mean()), "explained_variance": 1 - left})

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's tokens."""
        from windtunnel.trainer.losses.policy import clipped_loss, clipped_value_loss

        given: dict[str, Any] = {name: tensor.to(model.device) for name, tensor in batch.tensors.items()}
        logps = log_probs(model, batch.tensors, self.temperature)
        losses, clipped = clipped_loss(logps, given["old"], given["advantages"], self.clip_ratio, self.clip_ratio)
        values = _values(model, batch.tensors)
        errors = clipped_value_loss(values, given["old_values"], given["returns"], self.clip_value)
        total = losses.sum() + self.value_weight * errors.sum()
        return Loss(total, float(len(logps)), {"clipped": clipped.sum(), "value_loss": errors.detach().sum()})

    def _model(self) -> str:
        """Return the name of the reward model that the value model begins as; empty where there is none."""
        from windtunnel.trainer.rewards.model import STAGE, Model

        reward = self.rewarded()
        return (reward.name or STAGE) if isinstance(reward, Model) else ""


def _values(model: Any, batch: dict[str, Any]) -> Any:
    from windtunnel.trainer.rewards._reward_model import values_before

    return values_before(getattr(model, CRITIC), batch)
