"""Sends the rows of a user's own file to kept/ or dropped/, with all their columns and what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from windtunnel.pipelines.filters._edit import whole_rows
from windtunnel.pipelines.shards.aligned import AlignedReader, Measured
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.work import Counts, Work

WHY, REASON = "why", "reason"


class SortRows(Work):
    """Inputs: `rows` (UserRows), `decided` (the last decisions), `measures1`, ... and, where text was cut, `edited`.

    Rows have the file's columns, `why` (a struct) where something was measured, and in `dropped/` the `reason`;
    edited text takes the place of the old in the column `text`. A struct `why` that the file brings, from an earlier
    filter or dedup, takes in the new values; any other `why`, and a `reason`, goes on as `why_before`, `reason_before`.
    """

    version: ClassVar[int] = 2
    text: str = "text"

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["rows"].files("rows"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        counts, dropped = Counts(), Counter[str]()
        with ExitStack() as stack:
            source = stack.enter_context(pq.ParquetFile(inputs["rows"].files("rows")[rank]))
            decided = AlignedReader(inputs["decided"].files("decisions")[rank], stack, [REASON])
            measured = Measured(inputs, rank, stack)
            edited = (
                AlignedReader(inputs["edited"].files("documents")[rank], stack, ["text"])
                if "edited" in inputs
                else None
            )
            none = source.schema_arrow.empty_table()
            keeper, dropper = _writers(with_why(none, measured.empty), out, rank, stack)
            for batch in whole_rows(source, self.text):
                rows = pa.Table.from_batches([batch])
                reasons = decided.take(rows.num_rows)[REASON].combine_chunks()
                if edited is not None:
                    rows = self._edited(rows, edited)
                rows = with_why(rows, measured.take(rows.num_rows))
                keeper.write_table(rows.filter(reasons.is_null()).cast(keeper.schema))
                gone = with_reason(rows, reasons).filter(reasons.is_valid())
                dropper.write_table(gone.cast(dropper.schema))
                counts.seen += rows.num_rows
                counts.kept += reasons.null_count
                dropped.update(reasons.drop_null().to_pylist())
            for beside in (decided, measured, *([edited] if edited is not None else [])):
                beside.end()
        counts.dropped = dict(sorted(dropped.items()))
        return counts.check(f"sort, shard {rank}")

    def _edited(self, rows: pa.Table, edited: AlignedReader) -> pa.Table:
        place = rows.schema.get_field_index(self.text)
        field = rows.schema.field(place)
        return rows.set_column(place, field, edited.take(rows.num_rows)["text"].cast(field.type))


def _writers(none: pa.Table, out: Path, rank: int, stack: ExitStack) -> Iterator[pq.ParquetWriter]:
    """Open the kept and the dropped shard for rows like `none`; both appear when the stack closes without an error."""
    dropped = with_reason(none, pa.array([], pa.string()))
    for folder, schema in (("kept", none.schema), ("dropped", dropped.schema)):
        path = stack.enter_context(writing(out / folder / f"{rank:05d}.parquet"))
        yield stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))


def with_why(rows: pa.Table, measured: pl.DataFrame | None) -> pa.Table:
    """Return rows with a struct `why`: values measured before stay, those measured anew go over them if not null."""
    if measured is None:
        return rows
    place = rows.schema.get_field_index(WHY)
    if place >= 0 and not pa.types.is_struct(rows.schema.field(place).type):
        rows, place = set_aside(rows, WHY), -1
    columns: dict[str, pa.Array] = {}
    if place >= 0:
        held = rows.column(place).combine_chunks()
        columns = dict(zip([field.name for field in held.type], held.flatten(), strict=True))
    for name, new in zip(measured.columns, measured.to_arrow().columns, strict=True):
        values, old = new.combine_chunks(), columns.get(name)
        columns[name] = values if old is None else _over(values, old)
    why = pa.StructArray.from_arrays(list(columns.values()), list(columns))
    return rows.set_column(place, WHY, why) if place >= 0 else rows.append_column(WHY, why)


def _over(values: pa.Array, old: pa.Array) -> pa.Array:
    try:
        return pc.coalesce(values, old.cast(values.type))  # type: ignore[attr-defined]
    except pa.ArrowException:
        return values  # another kind of value under the same name


def with_reason(rows: pa.Table, reasons: pa.Array) -> pa.Table:
    """Return rows with the column `reason`; one of that name that the file brought has another name then."""
    rows = set_aside(rows, REASON) if REASON in rows.column_names else rows
    return rows.append_column(REASON, reasons)


def set_aside(rows: pa.Table, name: str) -> pa.Table:
    """Return rows with a column called `NAME_before` instead, or `NAME_before_before` where that is taken."""
    free = f"{name}_before"
    while free in rows.column_names:
        free += "_before"
    return rows.rename_columns([free if column == name else column for column in rows.column_names])
