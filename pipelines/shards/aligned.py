"""Row-aligned files: the rows that belong to a batch of another file, and measured values of several steps in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.role import in_number_order

READ_ROWS = 8192
BUFFER_BYTES = 1 << 20  # a buffered stream without read-ahead never holds a whole column chunk of a row group


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file for reading in batches; memory does not grow with its row groups."""
    return pq.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True)


class AlignedReader:
    """Reads a file in step with another file of as many rows; a context manager.

    Raises InputError when the file does not have `rows` rows.
    """

    def __init__(self, path: Path, rows: int, columns: Sequence[str] | None = None) -> None:
        self._file = open_parquet(path)
        if self._file.metadata.num_rows != rows:
            self._file.close()
            raise InputError(
                f"{path} has {self._file.metadata.num_rows} rows and is not row-aligned with its shard of {rows} "
                "documents: remove its artifact from the store and run again"
            )
        names = self._file.schema_arrow.names if columns is None else list(columns)
        self._rest = self._file.schema_arrow.empty_table().select(names)
        self._batches = self._file.iter_batches(READ_ROWS, columns=names, use_threads=False)

    def __enter__(self) -> AlignedReader:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def take(self, rows: int) -> pa.Table:
        """Return the next `rows` rows."""
        while self._rest.num_rows < rows:
            batch = next(self._batches)
            self._rest = pa.concat_tables([self._rest, pa.Table.from_batches([batch], self._rest.schema)])
        table, self._rest = self._rest.slice(0, rows), self._rest.slice(rows)
        return table


def measures_of(inputs: Mapping[str, Artifact], rank: int) -> list[Path]:
    """Return a shard's files of measured values, those of earlier steps first; steps that cut text may have none."""
    artifacts = in_number_order(inputs, "measures")
    return [files[rank] for artifact in artifacts if (files := artifact.files("measures"))]


def merged(frames: Sequence[pl.DataFrame]) -> pl.DataFrame | None:
    """Return measured values of the same rows as one frame without `id`; None when there are no columns.

    Where several frames have a column, the last value that is not null counts.
    """
    merged: pl.DataFrame | None = None
    for frame in frames:
        values = frame.drop("id", strict=False)
        merged = (
            values
            if merged is None
            else merged.with_columns(
                pl.coalesce(pl.lit(column), column.name).alias(column.name) if column.name in merged.columns else column
                for column in values
            )
        )
    return merged if merged is not None and merged.width else None
