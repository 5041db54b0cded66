"""Cosine decay after a linear warm-up, to a tenth of the peak by default (as in GPT-3, Chinchilla, nanoGPT)."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.schedules._schedule import Example, Schedule


class Cosine(Schedule):
    """Linear warm-up, then half a cosine period down to `floor`."""

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"warmup": 0.4, "floor": 0.2}, (0.5, 1, 0.9464, 0.6, 0.2536)),
        Example({"warmup": 0, "floor": 0}, (0.8536, 0.1464)),
    )

    warmup: float = Field(0.05, ge=0, lt=1)  # share of the steps
    floor: float = Field(0.1, ge=0, le=1)

    def scale(self, step: int, steps: int) -> float:
        up = round(self.warmup * steps)
        if step < up:
            return self._warm(step, up)
        t = (step + 0.5 - up) / (steps - up)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * t))
