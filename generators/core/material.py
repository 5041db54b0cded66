"""Input tables of a kind: rows of an earlier step's artifact as records, counted, streamed and picked by number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from windtunnel.generators.core.origin import Record
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError

FOLDERS = ("rows", "kept", "documents")  # generated rows, a corpus, documents as read
BATCH = 256


@dataclass(frozen=True)
class Table:
    """Rows of Parquet files (or of a small list), in file order, with random access by row number.

    `licences` maps a `source` to its licence, for rows that state none.
    """

    files: tuple[Path, ...] = ()
    memory: tuple[dict[str, Any], ...] = ()
    licences: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, artifact: Artifact, licences: Mapping[str, str] | None = None) -> Table:
        """Return the rows of an artifact: its generated rows, else its kept documents, else the documents it read."""
        for folder in FOLDERS:
            if files := artifact.files(folder):
                return cls(tuple(files), licences=licences or {})
        raise InputError(f"{artifact.path.name} has no folder {', '.join(FOLDERS)}: it is no input for a generator")

    @cached_property
    def ends(self) -> np.ndarray:
        """Row number at which each file ends."""
        return np.cumsum([pq.ParquetFile(path).metadata.num_rows for path in self.files], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.memory) + (int(self.ends[-1]) if self.files else 0)

    def rows(self, numbers: range | None = None, columns: Sequence[str] | None = None) -> Iterator[Record]:
        """Yield the rows of a range (default: all), with one batch in memory at a time."""
        span = range(len(self)) if numbers is None else numbers
        rows = iter(self.memory[span.start : span.stop]) if self.memory else self._streamed(span, columns)
        yield from (Record(row, number, self.licences) for number, row in zip(span, rows, strict=False))

    def _streamed(self, span: range, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
        for path, end in zip(self.files, self.ends.tolist(), strict=True):
            file = pq.ParquetFile(path)
            row = end - file.metadata.num_rows
            if end <= span.start or row >= span.stop:
                continue
            for batch in file.iter_batches(BATCH, columns=list(columns) if columns else None):
                low, high = max(span.start - row, 0), min(span.stop - row, batch.num_rows)
                if low < high:
                    yield from batch.slice(low, high - low).to_pylist()
                row += batch.num_rows

    def spread(self, numbers: range, total: int) -> Iterator[Record]:
        """Yield the rows of a range of numbers when `total` rows are taken evenly from the whole table.

        The first `total` rows would all come from the first of several inputs.
        """
        if total == len(self):
            return self.rows(numbers)
        return (row for _, row in self.pick(number * len(self) // total for number in numbers))

    def pick(self, numbers: Iterable[int]) -> Iterator[tuple[int, Record]]:
        """Yield (number, row), sorted by number and each once, with one row group in memory at a time."""
        chosen = np.unique(np.fromiter(numbers, np.int64))
        if self.memory:
            yield from ((int(n), Record(self.memory[n], int(n), self.licences)) for n in chosen)
            return
        for path, end in zip(self.files, self.ends.tolist(), strict=True):
            file = pq.ParquetFile(path)
            start = end - file.metadata.num_rows
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                here = chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, stop)]
                if here.size:
                    rows = file.read_row_group(group).take(here - start).to_pylist()
                    yield from ((n, Record(row, n, self.licences)) for n, row in zip(here.tolist(), rows, strict=True))
                start = stop
