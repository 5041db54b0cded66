"""How far a training run is, in a small file beside its results that other processes read while it goes on."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FILE = ".progress.json"  # in the run's directory, gone when the run is finished
CURVE = 48  # means of the loss that the file holds


class RunProgress(BaseModel):
    """The state of a run at some moment; the numbers are those of the stage at work."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=True, ser_json_inf_nan="constants")
    stage: int = 1  # from 1
    stages: int = 1
    step: int = 0  # steps done
    steps: int = 0  # 0: not known yet
    tokens: int = 0
    loss: float | None = None
    curve: list[float] = Field(default_factory=list)  # of the loss, mean by mean from the first step on
    tokens_per_second: float | None = None
    seconds_left: float | None = None  # of the stage, at the pace so far
    bits_per_byte: float | None = None  # of the last validation
    validated_at: int | None = None  # its step
    updated: float = 0.0  # seconds since the epoch

    @property
    def done(self) -> float:
        """The share of the run that is done, if its stages are equally long."""
        return (self.stage - 1 + (self.step / self.steps if self.steps else 0.0)) / self.stages

    def write(self, out: Path) -> None:
        """Replace the file in a run's directory; it is no result, so it is in no journal and waits for no disk."""
        out.mkdir(parents=True, exist_ok=True)
        partial = out / f"{FILE}.{os.getpid()}.partial"
        stamped = self.model_copy(update={"updated": time.time()})
        partial.write_text(stamped.model_dump_json(), encoding="utf-8")
        os.replace(partial, out / FILE)


def read_progress(out: Path) -> RunProgress | None:
    """Return what the file in a run's directory says; None where there is none, or none that can be read."""
    with contextlib.suppress(OSError, ValidationError):
        return RunProgress.model_validate_json((out / FILE).read_bytes())
    return None


def end_progress(out: Path) -> None:
    """Remove the file: the run is finished."""
    for file in out.glob(f"{FILE}*"):
        file.unlink(missing_ok=True)


def thinned(values: list[float], most: int = CURVE) -> list[float]:
    """Return at most so many means of consecutive values, equally many each but for rounding."""
    if len(values) <= most:
        return list(values)
    edges = [round(k * len(values) / most) for k in range(most + 1)]
    return [sum(part) / len(part) for a, b in itertools.pairwise(edges) if (part := values[a:b])]
