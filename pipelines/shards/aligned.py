"""Measured values beside the rows they were measured on, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.schemas.artifact import Artifact

LATER = "later:"
_READ_ROWS = 8192
_BUFFER_BYTES = 1 << 20  # with a buffer and no reading ahead, no column of a row group is in memory whole


class AlignedReader:
    """A row-aligned file, read by as many rows as the batch beside it has: memory does not follow the file's size."""

    def __init__(self, path: Path, stack: ExitStack, columns: list[str] | None = None) -> None:
        file = stack.enter_context(pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False))
        names = [name for name in file.schema_arrow.names if columns is None or name in columns]
        self.empty = file.schema_arrow.empty_table().select(names)
        self._batches = file.iter_batches(batch_size=_READ_ROWS, columns=names)
        self._held = self.empty

    def take(self, rows: int) -> pa.Table:
        """Return the next `rows` rows; fewer are an error, since a row would stand beside another's values."""
        while self._held.num_rows < rows:
            batch = next(self._batches, None)
            if batch is None:
                raise RuntimeError(f"{rows} rows stand beside {self._held.num_rows}: the files are not row-aligned")
            self._held = pa.concat_tables([self._held, pa.Table.from_batches([batch], self.empty.schema)])
        found, self._held = self._held.slice(0, rows), self._held.slice(rows)
        return found

    def end(self) -> None:
        """Raise when rows are left over: those before them may have stood beside another's values."""
        left = self._held.num_rows + sum(batch.num_rows for batch in self._batches)
        if left:
            raise RuntimeError(f"{left} rows stand beside none: the files are not row-aligned")


class Measured:
    """What the inputs whose roles begin with `measures` measured on a shard, in the order of the roles."""

    def __init__(self, inputs: Mapping[str, Artifact], rank: int, stack: ExitStack) -> None:
        self._files = [AlignedReader(path, stack) for path in measures_of(inputs, rank)]

    @property
    def empty(self) -> pl.DataFrame | None:
        """The columns without rows; None where nothing was measured."""
        return merged([pl.DataFrame(file.empty) for file in self._files])

    def take(self, rows: int) -> pl.DataFrame | None:
        """Return the values of the next `rows` rows."""
        return merged([pl.DataFrame(file.take(rows)) for file in self._files])

    def end(self) -> None:
        """Raise when values are left over."""
        for file in self._files:
            file.end()


def measures_of(inputs: Mapping[str, Artifact], rank: int) -> list[Path]:
    """Return the files of measured values of a shard; a later one goes over an earlier one where it has a value."""
    roles = sorted((role for role in inputs if role.startswith("measures")), key=lambda role: (len(role), role))
    return [files[rank] for role in roles if (files := inputs[role].files("measures"))]  # cutting measures nothing


def merged(frames: Sequence[pl.DataFrame]) -> pl.DataFrame | None:
    """Return one frame of measured values: later frames go over earlier ones where they have a value."""
    whole: pl.DataFrame | None = None
    for frame in frames:
        values = frame.drop("id", strict=False)
        if whole is None:
            whole = values
            continue
        both = pl.concat([whole, values.select(pl.all().name.prefix(LATER))], how="horizontal")
        again = [name for name in values.columns if name in whole.columns]
        whole = both.select(
            *(pl.coalesce(LATER + name, name).alias(name) if name in again else name for name in whole.columns),
            *(pl.col(LATER + name).alias(name) for name in values.columns if name not in again),
        )
    return whole if whole is not None and whole.width else None
