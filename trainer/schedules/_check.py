"""Checks a schedule by its examples, and that every factor lies in (0, 1] for any number of steps."""

from __future__ import annotations

from collections.abc import Iterator

from windtunnel.schemas.finding import Finding, differs, finding
from windtunnel.trainer.schedules._schedule import Example, Schedule

STEPS = (1, 2, 3, 7, 20, 1000)
PEAK = 0.97  # of a long run: the objective's learning rate is the peak
DIGITS = 4


def check(cls: type[Schedule]) -> Iterator[Finding]:
    """Yield the outcome of every example and of the range of the factors with its parameters."""
    if not cls.examples:
        yield Finding("examples", "no example of parameters and the factors of each step")
    for example in cls.examples:
        params, factors = dict(example.params), example.factors
        yield finding(f"{len(factors)} steps with {params}", lambda e=example: _factors(cls(**e.params), e))
        yield finding(f"factors in (0, 1] with {params}", lambda e=example: _range(cls(**e.params)))


def _factors(schedule: Schedule, example: Example) -> str | None:
    steps = len(example.factors)
    scales = [round(schedule.scale(step, steps), DIGITS) for step in range(steps)]
    return differs([round(factor, DIGITS) for factor in example.factors], scales)


def _range(schedule: Schedule) -> str | None:
    for steps in STEPS:
        factors = [schedule.scale(step, steps) for step in range(steps)]
        if wrong := [factor for factor in factors if not 0 < factor <= 1]:
            return f"of {steps} steps, step {factors.index(wrong[0])} has the factor {wrong[0]}"
    return None if max(factors) >= PEAK else f"no step of {STEPS[-1]} comes to the peak: the largest is {max(factors)}"
