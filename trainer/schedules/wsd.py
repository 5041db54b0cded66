"""Warm-up, stable, decay: linear up, flat, then down over the last share of the steps.

MiniCPM (Hu et al. 2024, arXiv 2404.06395) found that decaying over the last 10 % suffices; the flat part lets one trunk
serve several budgets.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from windtunnel.trainer.schedules._schedule import Example, Schedule


class WarmupStableDecay(Schedule):
    """Linear warm-up, constant, then a decay that ends at `floor`."""

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"warmup": 0.4, "decay": 0.4}, (0.5, 1, 1, 0.75, 0.25)),
        Example({"warmup": 0, "decay": 1, "floor": 0.2, "shape": "sqrt"}, (0.6, 0.3072)),
        Example({"warmup": 0, "decay": 1, "shape": "cosine"}, (0.8536, 0.1464)),
    )

    warmup: float = Field(0.05, ge=0, le=1)  # share of the steps
    decay: float = Field(0.2, ge=0, le=1)  # share of the steps
    floor: float = Field(0.0, ge=0, le=1)  # factor that the decay tends to after the last step
    shape: Literal["linear", "sqrt", "cosine"] = "linear"  # sqrt: 1 - sqrt(t), of Hägele et al. 2024

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup + self.decay > 1:
            raise ValueError(
                f"warmup and decay are shares of the steps, together at most 1: {self.warmup + self.decay}"
            )
        return self

    def scale(self, step: int, steps: int) -> float:
        down = round(self.decay * steps)
        factor = self._warm(step, round(self.warmup * steps))
        if step >= steps - down:
            # (step + 0.5): the mean of the ramp over the step, so that the last step still moves
            factor *= self._remaining((step + 0.5 - (steps - down)) / down)
        return factor

    def _remaining(self, t: float) -> float:
        shapes = {"linear": 1 - t, "sqrt": 1 - math.sqrt(t), "cosine": 0.5 * (1 + math.cos(math.pi * t))}
        return self.floor + (1 - self.floor) * shapes[self.shape]
