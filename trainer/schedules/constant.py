"""A constant learning rate after a linear warm-up."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.schedules._schedule import Example, Schedule


class Constant(Schedule):
    """Linear warm-up, then constant (as in the proxy models of RegMix)."""

    examples: ClassVar[tuple[Example, ...]] = (Example({"warmup": 0.5}, (0.5, 1, 1, 1)), Example({"warmup": 0}, (1, 1)))

    warmup: float = Field(0.05, ge=0, le=1)  # share of the steps

    def scale(self, step: int, steps: int) -> float:
        return self._warm(step, round(self.warmup * steps))
