"""Splits the rows of a shard into `kept/` and `dropped/`, with the struct `why` of everything that was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from windtunnel.pipelines.shards.writer import kept_and_dropped, text_bytes
from windtunnel.schemas.work import Counts

WHY = "why"


def split_rows(
    out: Path,
    rank: int,
    empty: pa.Table,
    parts: Iterable[tuple[pa.Table, pa.Table | None]],
    decided: Sequence[str],
    text: str = "text",
) -> Counts:
    """Write rows to `kept/`, those that have a reason to `dropped/` with the columns `decided` of their decisions.

    `parts`: rows and their decisions, None where nothing was decided and all rows stay. `empty`: rows of the same
    types. The counts' bytes are those of kept text.
    """
    counts, dropped = Counts(), Counter[str]()
    nothing = pa.table({name: pa.array([], pa.string()) for name in decided})
    with kept_and_dropped(out, rank, empty.schema, with_columns(empty, nothing).schema) as (keeper, dropper):
        for rows, decisions in parts:
            counts.seen += rows.num_rows
            kept = rows
            if decisions is not None:
                reasons = decisions["reason"]
                kept = rows.filter(reasons.is_null())
                leaving = with_columns(rows, decisions.select(decided)).filter(reasons.is_valid())
                dropper.write_table(leaving.cast(dropper.schema))
                dropped.update(reasons.drop_null().to_pylist())
            keeper.write_table(kept.cast(keeper.schema))
            counts.kept += kept.num_rows
            counts.bytes += text_bytes(kept, text) if text in kept.column_names else kept.nbytes
    counts.dropped = dict(sorted(dropped.items()))
    return counts


def with_why(rows: pa.Table, measured: pl.DataFrame | None) -> pa.Table:
    """Return rows with measured values in the struct `why`.

    A struct `why` that is already there keeps its fields; measured values that are not null replace its values. A
    column `why` of another type is renamed.
    """
    if measured is None:
        return rows
    place = rows.schema.get_field_index(WHY)
    if place >= 0 and not pa.types.is_struct(rows.schema.field(place).type):
        rows, place = set_aside(rows, WHY), -1
    columns: dict[str, pa.Array] = {}
    if place >= 0:
        before = rows.column(place).combine_chunks()
        columns = dict(zip([field.name for field in before.type], before.flatten(), strict=True))
    for name, column in zip(measured.columns, measured.to_arrow().columns, strict=True):
        values, old = column.combine_chunks(), columns.get(name)
        columns[name] = values if old is None else _replacing(old, values)
    why = pa.StructArray.from_arrays(list(columns.values()), list(columns))
    return rows.set_column(place, WHY, why) if place >= 0 else rows.append_column(WHY, why)


def _replacing(old: pa.Array, values: pa.Array) -> pa.Array:
    try:
        return pc.coalesce(values, old.cast(values.type))
    except pa.ArrowException:
        return values  # another kind of value under the same name


def with_columns(rows: pa.Table, columns: pa.Table) -> pa.Table:
    """Return rows with columns appended; columns of the same names are renamed."""
    for name in columns.column_names:
        rows = set_aside(rows, name) if name in rows.column_names else rows
        rows = rows.append_column(name, columns[name])
    return rows


def set_aside(rows: pa.Table, name: str) -> pa.Table:
    """Return rows with a column renamed to `NAME_before`, or `NAME_before_before` where that is taken."""
    free = f"{name}_before"
    while free in rows.column_names:
        free += "_before"
    return rows.rename_columns([free if column == name else column for column in rows.column_names])
