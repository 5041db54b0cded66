"""What is looked at while a model trains: held-out loss, samples of text, checkpoints that are kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# every so many steps (a whole number), or at each such share of a stage (0.1: ten times)
Every = Annotated[int, Field(ge=1, strict=True)] | Annotated[float, Field(gt=0, lt=1)]


class Watch(BaseModel):
    """The points of a stage at which its model is looked at; a stage's end is always one of them.

    None of it changes the model. `documents` of each held-out source are scored, the same ones at every point and in
    every run. Samples continue the `prompts`; without any, they continue the first words of held-out documents, or
    answer held-out questions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    every: Every | None = Field(None, alias="validate")  # None: only at checkpoints that are kept
    documents: int = Field(32, ge=1)  # of each held-out source
    samples: Every | None = None  # None: no samples
    prompts: tuple[str, ...] = ()
    tokens: int = Field(48, ge=1)  # of a sample, at most
    temperature: float = Field(0.0, ge=0)  # 0: greedy


class Keep(BaseModel):
    """Which checkpoints stay, as model directories `checkpoints/step-N`; they are validated too."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    every: Every


def points(steps: int, every: Every | None) -> frozenset[int]:
    """Return after how many of a stage's steps something is due; the end is among them unless `every` is None."""
    if every is None:
        return frozenset()
    if isinstance(every, int):
        return frozenset({*range(every, steps, every), steps})
    if every * steps <= 1:
        return frozenset(range(1, steps + 1))
    times = (round(k * every * steps) for k in range(1, int(1 / every + 1e-9) + 1))
    return frozenset({min(max(1, step), steps) for step in times} | {steps})
