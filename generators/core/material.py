"""What a kind reads: rows of an earlier step's artifact, counted, streamed and picked without holding them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError

FOLDERS = ("rows", "kept", "documents")  # generated rows, a corpus, documents as read
BATCH = 256


@dataclass(frozen=True)
class Table:
    """Rows of Parquet files (or of a list, for small things), in file order, with random access by row number."""

    files: tuple[Path, ...] = ()
    memory: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, artifact: Artifact) -> Table:
        """Return the rows of an artifact: its generated rows, its kept documents or the documents it read."""
        for folder in FOLDERS:
            if files := artifact.files(folder):
                return cls(tuple(files))
        raise InputError(f"{artifact.path.name} holds none of {', '.join(FOLDERS)}: it is no input for a generator")

    @cached_property
    def ends(self) -> np.ndarray:
        """Row number at which each file ends."""
        return np.cumsum([pq.ParquetFile(path).metadata.num_rows for path in self.files], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.memory) + (int(self.ends[-1]) if self.files else 0)

    def rows(self, numbers: range | None = None, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the rows of a range, a batch in memory at a time."""
        wanted = range(len(self)) if numbers is None else numbers
        if self.memory:
            yield from self.memory[wanted.start : wanted.stop]
            return
        for path, end in zip(self.files, self.ends.tolist(), strict=True):
            file = pq.ParquetFile(path)
            row = end - file.metadata.num_rows
            if end <= wanted.start or row >= wanted.stop:
                continue
            for batch in file.iter_batches(BATCH, columns=list(columns) if columns else None):
                low, high = max(wanted.start - row, 0), min(wanted.stop - row, batch.num_rows)
                if low < high:
                    yield from batch.slice(low, high - low).to_pylist()
                row += batch.num_rows

    def spread(self, numbers: range, of: int) -> Iterator[dict[str, Any]]:
        """Yield the rows of a range of numbers when `of` rows are taken evenly from all of them.

        The first `of` rows would all come from the first input where there are several.
        """
        if of == len(self):
            yield from self.rows(numbers)
            return
        yield from (row for _, row in self.pick(number * len(self) // of for number in numbers))

    def pick(
        self, numbers: Iterable[int], columns: Sequence[str] | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (number, row) in order; only row groups that hold one are read, and one is in memory at a time."""
        wanted = np.unique(np.fromiter(numbers, np.int64))
        if self.memory:
            yield from ((int(n), self.memory[n]) for n in wanted)
            return
        for path, end in zip(self.files, self.ends.tolist(), strict=True):
            file = pq.ParquetFile(path)
            start = end - file.metadata.num_rows
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                here = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, stop)]
                if here.size:
                    table = file.read_row_group(group, columns=list(columns) if columns else None)
                    yield from zip(here.tolist(), table.take(here - start).to_pylist(), strict=True)
                start = stop
