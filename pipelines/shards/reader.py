"""Reads shards of documents in bounded batches, with the decisions and measured values of the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.shards.aligned import AlignedReader, measures_of, merged, open_parquet
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError, nearest
from windtunnel.schemas.work import Work

BATCH_BYTES = 8 << 20  # of text: memory does not follow the shard's size
BATCH_ROWS = 1024
MOST_ROWS = 8192


class Batch(NamedTuple):
    """Consecutive documents of a shard.

    `first`: row of the first one in the shard. `alive`: bool a row, false for documents that an earlier step dropped.
    `decisions`: columns `reason` and `step`, None where nothing was decided. `measured`: the columns that were asked
    for, None where there are none.
    """

    first: int
    rows: pa.RecordBatch
    alive: np.ndarray
    decisions: pa.Table | None
    measured: pl.DataFrame | None


class Shard:
    """One shard of `documents` with the `decisions` and `measures...` that belong to it, where the inputs have any.

    `folder`: where the documents lie in their artifact. `text`: the column whose size bounds a batch.
    """

    def __init__(
        self, inputs: Mapping[str, Artifact], rank: int, folder: str = "documents", text: str = "text"
    ) -> None:
        self._files = inputs["documents"].files(folder)
        self._rank = rank
        self.path = self._files[rank]
        self.rows = pq.read_metadata(self.path).num_rows
        self.schema = pq.read_schema(self.path)
        self._text = text
        self._decisions = inputs["decisions"].files("decisions")[rank] if "decisions" in inputs else None
        self._measures = measures_of(inputs, rank)

    def batches(
        self, columns: Sequence[str] | None = None, rows: int | None = None, measured: Sequence[str] | None = ()
    ) -> Iterator[Batch]:
        """Yield the shard's documents in order; all documents, dropped ones too.

        `columns` and `measured` name document columns and measured columns, None means all; `rows` as in `batches`.
        Raises InputError for a column that is not there, and for files that are not row-aligned.
        """
        with ExitStack() as stack:
            decided = None
            if self._decisions:
                decided = stack.enter_context(AlignedReader(self._decisions, self.rows, ["reason", "step"]))
            values = [
                stack.enter_context(AlignedReader(path, self.rows, names))
                for path, names in self._measured(measured).items()
            ]
            first = 0
            for part in batches(self.path, columns, rows, self._text):
                count = part.num_rows
                decisions = decided.take(count) if decided else None
                alive = np.ones(count, bool) if decisions is None else decisions["reason"].is_null().to_numpy()
                yield Batch(first, part, alive, decisions, merged([pl.DataFrame(file.take(count)) for file in values]))
                first += count

    def empty(self, columns: Sequence[str] | None = None, measured: Sequence[str] | None = ()) -> Batch:
        """Return a batch without rows, of the types that `batches` yields."""
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        values = [
            pl.DataFrame(pq.read_schema(path).empty_table().select(names))
            for path, names in self._measured(measured).items()
        ]
        rows = pa.RecordBatch.from_arrays([pa.array([], kind) for kind in schema.types], schema=schema)
        return Batch(0, rows, np.ones(0, bool), None, merged(values))

    @property
    def start(self) -> int:
        """Number in the corpus of the shard's first document."""
        return sum(pq.read_metadata(path).num_rows for path in self._files[: self._rank])

    def ids(self) -> pa.ChunkedArray:
        """Return the ids of all documents."""
        return pq.read_table(self.path, columns=["id"])["id"]

    def prior(self) -> pa.Table | None:
        """Return `reason` and `step` of all documents; None where nothing was decided."""
        return None if self._decisions is None else pq.read_table(self._decisions, columns=["reason", "step"])

    def _measured(self, names: Sequence[str] | None) -> dict[Path, list[str]]:
        """Return the measured columns to read, by file."""
        known = {path: [name for name in pq.read_schema(path).names if name != "id"] for path in self._measures}
        if names is None:
            return known
        columns = {name for held in known.values() for name in held}
        for name in names:
            if name not in columns:
                raise InputError(f"nothing called {name!r} was measured before: {nearest(name, columns)}")
        return {path: held for path, all_ in known.items() if (held := [name for name in all_ if name in names])}


class ShardWork(Work):
    """Work with one task for each file in a folder of an input."""

    shards_of: ClassVar[tuple[str, str]] = ("documents", "documents")  # role, folder

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        role, folder = self.shards_of
        return len(inputs[role].files(folder))


def batches(
    path: Path, columns: Sequence[str] | None = None, rows: int | None = None, text: str = "text"
) -> Iterator[pa.RecordBatch]:
    """Yield a Parquet file in batches of at most `BATCH_BYTES` of the column `text`; a longer document is one batch.

    A batch has at most `rows` rows. Without `rows` it has about `BATCH_BYTES` of all columns and at most `MOST_ROWS`
    rows, all of one row group. Raises InputError for a column that is not there.
    """
    with open_parquet(path) as file:
        known = file.schema_arrow.names
        for name in columns or ():
            if name not in known:
                raise InputError(f"{path} has no column {name!r}: {nearest(name, known)}")
        groups = range(file.num_row_groups)
        parts = [(rows, None)] if rows else [(_rows_of(file.metadata.row_group(group)), [group]) for group in groups]
        for size, row_groups in parts:
            # decoded by the thread that uses it: handing each batch to Arrow's pool and back idles a tenth of a core
            for batch in file.iter_batches(size, row_groups, columns, use_threads=False):
                yield from _halves(batch, text)


def stored_text_bytes(path: Path) -> int:
    """Return the uncompressed bytes of the column `text`, from the file's footer."""
    footer = pq.read_metadata(path)
    groups = (footer.row_group(number) for number in range(footer.num_row_groups))
    columns = (group.column(place) for group in groups for place in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema == "text")


def _rows_of(group: pq.RowGroupMetaData) -> int:
    """Return how many rows of a row group have about `BATCH_BYTES`."""
    return max(1, min(MOST_ROWS, BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)))


def _halves(batch: pa.RecordBatch, text: str) -> Iterator[pa.RecordBatch]:
    """Yield a batch, or its halves while it has more than `BATCH_BYTES` of text and more than one row."""
    if batch.num_rows < 2 or text not in batch.schema.names or batch.column(text).nbytes <= BATCH_BYTES:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _halves(batch.slice(0, half), text)
    yield from _halves(batch.slice(half), text)
