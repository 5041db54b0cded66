"""Writes the files of a shard: `FOLDER/NNNNN.parquet`, each under a temporary name until it is whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from windtunnel.pipelines.shards.reader import Shard
from windtunnel.schemas.artifact import PARQUET, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.records import DECISION
from windtunnel.schemas.work import Counts

Rows = TypeVar("Rows", pa.RecordBatch, pa.Table)
REASONS = ["reason", "step"]


@contextmanager
def shard_writer(
    out: Path, folder: str, rank: int | str, schema: pa.Schema, **options: Any
) -> Iterator[pq.ParquetWriter]:
    """Open `folder/NNNNN.parquet`; every write is a row group. `options` go to `pyarrow.parquet.ParquetWriter`."""
    name = rank if isinstance(rank, str) else f"{rank:05d}"
    with (
        writing(out / folder / f"{name}.parquet") as path,
        pq.ParquetWriter(path, schema, **{**PARQUET, **options}) as writer,
    ):
        yield writer


@contextmanager
def kept_and_dropped(
    out: Path, rank: int, kept: pa.Schema, dropped: pa.Schema
) -> Iterator[tuple[pq.ParquetWriter, pq.ParquetWriter]]:
    """Open `kept/` and `dropped/` of a shard."""
    with shard_writer(out, "kept", rank, kept) as keeper, shard_writer(out, "dropped", rank, dropped) as dropper:
        yield keeper, dropper


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as one Parquet file."""
    with writing(path) as partial:
        pq.write_table(table, partial, **PARQUET)


def replaced(rows: Rows, name: str, values: pa.Array | pa.ChunkedArray | Sequence[Any]) -> Rows:
    """Return rows with other values in a column, which keeps its place and type."""
    place = rows.schema.get_field_index(name)
    field = rows.schema.field(place)
    arrow = isinstance(values, (pa.Array, pa.ChunkedArray))
    column: Any = values.cast(field.type) if arrow else pa.array(values, field.type)  # type: ignore[union-attr]
    return rows.set_column(place, field, column)


def text_bytes(rows: pa.RecordBatch | pa.Table, text: str = "text") -> int:
    """Return the UTF-8 bytes of a text column."""
    return pc.sum(pc.binary_length(rows.column(text))).as_py() or 0


def write_drops(shard: Shard, out: Path, rank: int, drop: np.ndarray, reason: str, step: str) -> Counts:
    """Write the decisions of a step with a single reason: documents where `drop` (bool a row) is true go."""
    reasons = pc.if_else(pa.array(drop), reason, pa.scalar(None, pa.string()))
    return write_decisions(out, rank, shard.ids(), reasons, step, shard.prior(), compression="lz4")


def write_decisions(
    out: Path,
    rank: int,
    ids: pa.Array | pa.ChunkedArray,
    reasons: pa.Array,
    step: str,
    prior: pa.Table | None,
    **options: Any,
) -> Counts:
    """Write `decisions/NNNNN.parquet` and return the counts of the documents that no earlier step dropped.

    `reasons` is null for documents that stay. Documents dropped in `prior` (`reason` and `step` of the same rows) keep
    that decision. Raises InputError when `prior` has another number of rows.
    """
    if prior is None:
        alive, before = pa.array(np.ones(len(ids), bool)), dict.fromkeys(REASONS, pa.nulls(len(ids), pa.string()))
    else:
        before = {name: prior[name].combine_chunks() for name in REASONS}
        alive = before["reason"].is_null()
    if len(alive) != len(ids):
        raise InputError(f"shard {rank}: {len(ids)} documents, but {len(alive)} decisions: run again from a new store")
    now = pc.and_(alive, reasons.is_valid())
    columns = {
        "id": ids,
        "reason": pc.if_else(alive, reasons, before["reason"]),
        "step": pc.if_else(now, step, before["step"]),
    }
    with writing(out / "decisions" / f"{rank:05d}.parquet") as path:
        pq.write_table(
            pa.table(columns, schema=DECISION), path, use_dictionary=REASONS, write_page_checksum=True, **options
        )
    seen = alive.true_count
    dropped = {row["values"]: row["counts"] for row in pc.value_counts(reasons.filter(now)).to_pylist()}
    return Counts(seen=seen, kept=seen - sum(dropped.values()), dropped=dict(sorted(dropped.items())))
