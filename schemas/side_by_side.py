"""Trainings side by side: what each is, what it cost, its score and its probes."""

from __future__ import annotations

from pathlib import Path

from windtunnel.schemas.records import Record

FILE = "side_by_side.json"
PROBES = "probes.json"  # of a probed run


class Figure(Record):
    """A mean over seeds, with the half-width of its 95 % interval (None: one seed shows no spread)."""

    mean: float
    half: float | None


class ProbeFigure(Record):
    """Accuracy of a probe: mean over seeds, and a 95 % interval from the seeds and the sampling of the items."""

    accuracy: float
    low: float
    high: float
    chance: float  # share of the most frequent label
    items: int
    layer: str  # that most folds and seeds chose


class Row(Record):
    """One training; numbers are means over its seeds."""

    run: str
    objective: str  # of all stages, each with the name of its delta
    model: str
    parameters: int  # those of a delta included
    trained: int | None = None  # of them, by the last stage; None: unknown
    tokens: int  # of all stages
    flops: float
    seconds: float  # of training
    seeds: int
    measure: str | None  # of the held-out scores; None: there are none
    score: Figure | None  # bits per byte
    loss: float  # the objective's own at the end of training
    incomparable: str = ""  # why the score does not compare with the baseline's
    probes: dict[str, ProbeFigure]  # by task


class Table(Record):
    """All trainings, the baseline first."""

    baseline: str
    rows: list[Row]

    @classmethod
    def read(cls, directory: Path) -> Table:
        """Return the table of the artifact of this step."""
        return cls.model_validate_json((directory / FILE).read_bytes())
