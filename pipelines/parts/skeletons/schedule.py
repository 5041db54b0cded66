"""A learning rate that rises over the warm-up and then falls with the square root of the step.

In a recipe: `train: {schedule: ./new_part.py:NewPart}`
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.schedules._schedule import Example, Schedule


class NewPart(Schedule):
    """Linear warm-up, then sqrt(warm-up steps / step) of the peak."""

    version: ClassVar[int] = 1  # raise it whenever the same parameters give other factors

    # Parameters and the factors of all steps: `windtunnel check schedule ./new_part.py:NewPart` runs them.
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"warmup": 0.5}, (0.5, 1, 0.8165, 0.7071)),
        Example({"warmup": 0}, (1, 0.7071, 0.5774)),
    )

    warmup: float = Field(0.05, ge=0, le=1)  # share of the steps

    def scale(self, step: int, steps: int) -> float:
        """Return the factor of the peak learning rate for step `step` of `steps`, above 0 and at most 1."""
        up = max(1, round(self.warmup * steps))
        return (step + 1) / up if step < up else (up / (step + 1)) ** 0.5
