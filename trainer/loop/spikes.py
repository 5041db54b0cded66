"""Steps that are left out: whose gradient is far larger than those before, or not finite.

What is left out follows from the log alone, so that a resumed run leaves out the same. Each such step is written down
with its documents, which is where bad data show.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from windtunnel.schemas.artifact import write_text

FILE = "spikes.jsonl"
SKIPPED = "skipped"  # column of the log
WINDOW, FEWEST = 100, 10  # steps that a step is compared with, at most and at least
MOST = 0.2  # share of the window's steps that may be left out
IN_A_ROW = 20  # steps without a finite gradient after which none is to be expected, or half of a shorter stage
AT_THE_END = 0.05  # share of a stage's steps that, if the last ones have none, leave no model to be scored


def limit(columns: Mapping[str, Sequence[float]], factor: float) -> float:
    """Return the largest gradient norm that is not left out: `factor` times the median of the steps before."""
    norms = columns.get("grad_norm", ())[-WINDOW:]
    skipped = columns.get(SKIPPED, ())[-WINDOW:]
    taken = [norm for norm, out in zip(norms, skipped, strict=True) if not out]
    return factor * statistics.median(taken) if len(taken) >= FEWEST else math.inf


def is_spike(norm: float, most: float) -> bool:
    """Return whether a step with a gradient of this norm is left out; one that is not finite always is."""
    return not (math.isfinite(norm) and norm <= most)


def too_many(columns: Mapping[str, Sequence[float]], steps: int) -> bool:
    """Return whether so many of a stage's steps are left out that the run is not the one that was asked for."""
    recent = columns.get(SKIPPED, ())[-WINDOW:]
    norms = columns["grad_norm"]
    number = min(IN_A_ROW, (steps + 1) // 2)
    if len(norms) == steps:  # nothing will tell whether more would have been left out
        number = min(number, max(2, round(AT_THE_END * steps)))
    row = norms[-number:]
    return sum(recent) > max(FEWEST, MOST * WINDOW) or (len(row) == number and not any(map(math.isfinite, row)))


def write_spike(out: Path, step: int, row: Mapping[str, float], documents: Sequence[str]) -> None:
    """Add a step to the file of what was left out; later steps, of an interrupted run, go."""
    path = out / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if json.loads(line)["step"] < step]
    numbers = {name: value if math.isfinite(value) else str(value) for name, value in row.items()}
    line = json.dumps({**numbers, "step": step, "documents": list(documents)})
    write_text(path, "".join(f"{each}\n" for each in [*kept, line]))
