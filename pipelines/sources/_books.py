"""The books of a part: what was kept and what was lost, held against what its files say that they hold."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.readers.batches import Note, Remark, Stated, Unreadable
from windtunnel.schemas.artifact import PARQUET, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.records import UNREADABLE
from windtunnel.schemas.work import Counts

DOCUMENTS, UNREAD = "documents", "unreadable"
_HELD = 10_000


class Books:
    """Writes `unreadable/NNNNN.parquet` of a part and counts; a context manager."""

    def __init__(self, out: Path, rank: int) -> None:
        self._path = out / UNREAD / f"{rank:05d}.parquet"
        self._held: list[Unreadable] = []
        self._lost: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()
        self._kept = self._bytes = 0
        self._stated: int | None = None

    def __enter__(self) -> Books:
        self._stack = ExitStack()
        partial = self._stack.enter_context(writing(self._path))
        self._writer = self._stack.enter_context(pq.ParquetWriter(partial, UNREADABLE, **PARQUET))
        return self

    def __exit__(self, *error: Any) -> None:
        self._write()
        self._stack.__exit__(*error)

    def keep(self, rows: int, size: int) -> None:
        """Count rows that were kept, and their bytes of text."""
        self._kept += rows
        self._bytes += size

    def remark(self, item: Remark) -> None:
        """Take down what a source says beside its documents."""
        if isinstance(item, Stated):
            self._stated = (self._stated or 0) + item.records
        elif isinstance(item, Note):
            self._notes[item.name] += item.count
        else:
            self._lost[item.error] += item.rows
            self._held.append(item)
            if len(self._held) == _HELD:
                self._write()

    def counts(self, place: str) -> Counts:
        """Return the counts; raises InputError where they are not what the files of the part state."""
        seen = self._kept + self._lost.total()
        if self._stated is not None and self._stated != seen:
            raise InputError(
                f"{place} holds {self._stated:,} records by its own count, and {seen:,} came out of it ({self._kept:,} "
                f"documents, {self._lost.total():,} unreadable): the file contradicts itself; fetch it again, or leave "
                "it out"
            )
        lost, notes = dict(sorted(self._lost.items())), dict(sorted(self._notes.items()))
        return Counts(seen=seen, kept=self._kept, unreadable=lost, bytes=self._bytes, notes={**notes})

    def _write(self) -> None:
        columns = list(zip(*self._held, strict=True)) if self._held else [[]] * len(UNREADABLE)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, UNREADABLE, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=UNREADABLE))
        self._held = []


def check_any_read(out: Path, folder: str = DOCUMENTS) -> None:
    """Raise InputError where everything was unreadable: it names the commonest reason and an example.

    `out` holds the `folder` and the `unreadable` of all parts. A source of documents that holds nothing is no error.
    """
    if any(pq.read_metadata(file).num_rows for file in (out / folder).glob("*.parquet")):
        return
    lost = pl.concat([pl.read_parquet(file) for file in sorted((out / UNREAD).glob("*.parquet"))])
    if lost.is_empty():
        if folder == DOCUMENTS:
            return
        raise InputError("the files hold no record at all: a set without a row can be no part of a comparison")
    commonest = lost.group_by("error").agg(pl.col("rows").sum()).sort("rows", "error", descending=[True, False])
    reason = commonest["error"][0]
    example = lost.row(lost["error"].index_of(reason), named=True)
    raise InputError(
        f"nothing could be read: {lost['rows'].sum():,} records are unreadable, most of them for the reason {reason} "
        f"({example['where']}: {example['detail'] or 'no more is known'}); is this the right source for these files, "
        f"and the right column for {'their text' if folder == DOCUMENTS else 'the rows'}?"
    )
