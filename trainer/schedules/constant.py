"""A constant learning rate after a linear warm-up."""

from __future__ import annotations

from pydantic import Field

from windtunnel.trainer.schedules._schedule import Schedule


class Constant(Schedule):
    """Linear warm-up, then constant (as in the proxy models of RegMix)."""

    warmup: float = Field(0.05, ge=0, le=1)  # share of the steps

    def scale(self, step: int, steps: int) -> float:
        return self._warm(step, round(self.warmup * steps))
