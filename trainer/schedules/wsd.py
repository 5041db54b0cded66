"""Warm-up, stable, decay: a linear warm-up, a constant phase and a decay over the last share of the steps.

MiniCPM (Hu et al. 2024, arXiv 2404.06395) found a decay over the last 10 % sufficient; the constant phase can be shared
by several budgets.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from windtunnel.trainer.schedules._schedule import Example, Schedule


class WarmupStableDecay(Schedule):
    """Linear warm-up, constant phase, then a decay to `floor`."""

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"warmup": 0.4, "decay": 0.4}, (0.5, 1, 1, 0.75, 0.25)),
        Example({"warmup": 0, "decay": 1, "floor": 0.2, "shape": "sqrt"}, (0.6, 0.3072)),
        Example({"warmup": 0, "decay": 1, "shape": "cosine"}, (0.8536, 0.1464)),
    )

    warmup: float = Field(0.05, ge=0, le=1)  # share of the steps
    decay: float = Field(0.2, ge=0, le=1)  # share of the steps
    floor: float = Field(0.0, ge=0, le=1)  # factor reached after the last step
    shape: Literal["linear", "sqrt", "cosine"] = "linear"  # sqrt: 1 - sqrt(t) (Hägele et al. 2024)

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.warmup + self.decay > 1:
            raise ValueError(
                f"warmup and decay are shares of the steps, together at most 1: {self.warmup + self.decay}"
            )
        return self

    def scale(self, step: int, steps: int) -> float:
        down = round(self.decay * steps)
        factor = self._warm(step, round(self.warmup * steps))
        if step >= steps - down:
            # step + 0.5 is the mean of the ramp over the step, so the last factor is not 0
            factor *= self._remaining((step + 0.5 - (steps - down)) / down)
        return factor

    def _remaining(self, t: float) -> float:
        shapes = {"linear": 1 - t, "sqrt": 1 - math.sqrt(t), "cosine": 0.5 * (1 + math.cos(math.pi * t))}
        return self.floor + (1 - self.floor) * shapes[self.shape]
