"""Which member of a cluster of duplicates stays: the first, the longest, or the highest by a column, sources ranked."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.pipelines.shards.columns import check_column, column

PRIORITY_BITS = 16
MEASURED = "why."  # as in the struct `why` of a corpus, which has everything that was measured


@dataclass(frozen=True)
class Choice:
    """Which member of a cluster stays.

    `by` is None for the first one, "text" for the longest text, else a numeric column, `why.NAME` for a measured one.
    """

    by: str | None = None
    lowest: bool = False
    priority_column: str | None = None
    priority: tuple[str, ...] = ()

    @property
    def scored(self) -> bool:
        """Whether anything but the order of the documents counts."""
        return bool(self.by or self.priority_column)

    @property
    def measured(self) -> str | None:
        """Name of the measured column that counts, if one does."""
        return self.by.removeprefix(MEASURED) if self.by and self.by.startswith(MEASURED) else None

    @property
    def columns(self) -> list[str]:
        """Columns of the documents that scores are made from."""
        return [name for name in (None if self.measured else self.by, self.priority_column) if name]

    def scores(self, rows: pa.RecordBatch, measured: pa.Array | None = None) -> np.ndarray | None:
        """Return a u64 a row, higher is better: rank of the priority column first, then the value; None for `first`.

        `measured`: the rows' values of the measured column, where one counts.
        """
        if not self.scored:
            return None
        values = np.zeros(rows.num_rows, np.uint64)
        if self.by == "text":
            values = np.asarray(pc.binary_length(rows.column("text"))).astype(np.uint64)
        elif self.by:
            chosen = column(rows, self.by) if measured is None else measured
            values = _ordered(chosen.to_pylist(), self.lowest) >> np.uint64(PRIORITY_BITS)
        if self.priority_column:
            ranks = {name: len(self.priority) - i for i, name in enumerate(self.priority)}
            names = column(rows, self.priority_column).to_pylist()
            values |= np.array([ranks.get(str(name), 0) for name in names], np.uint64) << np.uint64(64 - PRIORITY_BITS)
        return values


def parse(keep: str, priority_column: str | None = None, priority: tuple[str, ...] = ()) -> Choice:
    """Return the choice that `first`, `longest`, `highest COLUMN` or `lowest COLUMN` says; raise ValueError else."""
    match = re.fullmatch(r"(first|longest)|(highest|lowest)\s+(\S+)", keep.strip())
    if match is None:
        raise ValueError(f"keep is `first`, `longest`, `highest COLUMN` or `lowest COLUMN`, not {keep!r}")
    if len(priority) >= 1 << PRIORITY_BITS:
        raise ValueError(f"priority lists {len(priority)} values, {(1 << PRIORITY_BITS) - 1} at most")
    by = "text" if match[1] == "longest" else match[3] and _known(match[3])
    return Choice(by, match[2] == "lowest", priority_column if priority else None, priority)


def _known(name: str) -> str:
    if name.startswith(MEASURED) and len(name) > len(MEASURED):
        return name
    try:
        return check_column(name)
    except ValueError as error:
        raise ValueError(f"{error}; what a rule has measured is written {MEASURED}NAME, as in why.quality") from None


def _ordered(values: list[object], lowest: bool) -> np.ndarray:
    """Return u64s in the order of the values as 64-bit floats; a value that is no number comes last either way."""
    floats = np.array([_number(value) for value in values], np.float64)
    missing = np.isnan(floats)
    bits = np.where(missing, 0.0, floats + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    top = np.uint64(1 << 63)
    ordered = np.where(bits & top, ~bits, bits | top)
    return np.where(missing, np.uint64(0), ~ordered if lowest else ordered)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
