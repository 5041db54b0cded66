"""Rejection sampling: supervised fine-tuning on the best of several replies of the model's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.objectives._objective import Loss
from windtunnel.trainer.objectives._on_policy import OnPolicy
from windtunnel.trainer.objectives._rounds import Lesson
from windtunnel.trainer.rollouts.round import Round

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Rejection(OnPolicy):
    """Best-of-n then SFT (as Llama 2, Touvron et al. 2023): the reply with the highest reward of each prompt is learnt.

    Of equal ones the first counts. Prompts whose best reward is below `at_least`, or whose replies all have one reward,
    teach nothing and are counted as `unused` in the log.
    """

    unit: ClassVar[str] = "nats per token"
    examples: ClassVar = ({"reward": {"length": 3}, "samples": 4, "prompts": 8, "max_tokens": 8},)

    samples: int = Field(8, ge=2)
    beta: float = Field(0.0, ge=0, le=0)  # nothing pulls to the reference: the KL is only measured
    target_kl: None = None
    at_least: float | None = None  # None: any reward that is not that of all replies

    def learns(self, row: Mapping[str, float]) -> bool:
        """Return whether any reply is good enough."""
        return row["unused"] < 1

    def lesson(self, made: Round, beta: float) -> Lesson:
        """Return the best reply of each prompt that has one."""
        best = made.groups.argmax(1)
        highest, lowest = made.groups.max(1), made.groups.min(1)
        used = highest > lowest if self.at_least is None else highest >= self.at_least
        chosen = [k * made.samples + int(best[k]) for k in np.flatnonzero(used).tolist()]
        facts = {"best_reward": float(highest.mean()), "unused": float(1 - used.mean())}
        # a round without any use takes a reply along whose loss counts nothing, since a step has a loss
        counts = np.full(len(made.rows), float(used.any()))
        return Lesson({}, {"counts": counts}, chosen or [0], facts=facts)

    def loss(self, model: PreTrainedModel, batch: Batch) -> Loss:
        """Return the summed loss over the micro-batch's target tokens."""
        from windtunnel.trainer.losses.target_logps import summed_target_nats

        total = summed_target_nats(model, batch.tensors) * batch.tensors["counts"][0].to(model.device)
        return Loss(total, float(len(batch.tensors["labels"])), {})
