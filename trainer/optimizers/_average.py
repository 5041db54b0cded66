"""Averages of the weights over the steps of a stage, which are evaluated and exported in place of the last weights.

An exponential average (Polyak 1990) follows all steps; the plain mean of the last share of the steps stands for the
decay of the learning rate (Hägele et al. 2024, arXiv 2405.18392). Neither changes the training itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import torch

WARM = 10  # the exponential average begins as one over so many steps


class Average(BaseModel):
    """`{ema: 0.999}`: the decay of a step; or `{last: 0.2}`: the mean of the weights after the last fifth's steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    ema: float | None = Field(None, gt=0, lt=1)
    last: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.ema is None) == (self.last is None):
            raise ValueError("an average is either `ema: DECAY` or `last: SHARE`")
        return self

    def share(self, step: int, steps: int) -> float:
        """Return the share of the weights after step `step` in the average, 0 before it begins."""
        if self.ema is not None:
            return 1 - min(self.ema, (1 + step) / (WARM + step))
        first = steps - max(1, round((self.last or 0.0) * steps))
        return 1 / (step - first + 1) if step >= first else 0.0


class RunningAverage:
    """The average of named parameters so far, on their device and in their precision."""

    def __init__(self, average: Average) -> None:
        self.average = average
        self.values: dict[str, torch.Tensor] = {}

    def follow(self, step: int, steps: int, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Take in the weights after a step."""
        share = self.average.share(step, steps)
        if share == 0:
            return
        for name, parameter in parameters.items():
            if name not in self.values:
                self.values[name] = parameter.detach().clone()
            else:
                self.values[name].lerp_(parameter.detach(), share)

    def put_into(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Replace the weights by their average."""
        for name, value in self.values.items():
            parameters[name].data.copy_(value)
