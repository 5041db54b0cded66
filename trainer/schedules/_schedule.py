"""The base class of learning-rate schedules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from windtunnel.schemas.plugin import Plugin


class Example(NamedTuple):
    """Parameters and the factors of all steps; `windtunnel check schedule NAME` runs it."""

    params: Mapping[str, Any]
    factors: tuple[float, ...]


class Schedule(Plugin, ABC):
    """A factor between 0 and 1 that multiplies the objective's peak learning rate."""

    examples: ClassVar[tuple[Example, ...]] = ()

    @abstractmethod
    def scale(self, step: int, steps: int) -> float:
        """Return the factor for optimiser step `step` (0 <= step < steps), which is never 0."""

    def _warm(self, step: int, warmup_steps: int) -> float:
        """Return the factor of the linear warm-up: 1/n at the first of n steps, 1 from the n-th step on."""
        return min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0
