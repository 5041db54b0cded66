"""Streams the documents of a shard that earlier decisions have left alive, and named columns of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from windtunnel.pipelines.shards.aligned import measures_of
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError, nearest
from windtunnel.schemas.records import DOCUMENT

BATCH_ROWS = 1024  # documents a batch: text in memory follows this, not the size of the shard


@dataclass(frozen=True)
class Batch:
    """Some documents that follow one another in a shard."""

    first: int  # row of the first one in the shard
    rows: pa.RecordBatch
    alive: np.ndarray  # bool, one a row


def survivors(inputs: Mapping[str, Artifact], rank: int, columns: list[str]) -> Iterator[Batch]:
    """Yield all documents of shard `rank` with `columns`, marked alive or not by the `decisions` input if there is one.

    Raises InputError when the decisions are not row-aligned with the documents.
    """
    path = inputs["documents"].files("documents")[rank]
    alive = alive_rows(inputs, rank)
    first = 0
    for rows in batches(path, columns):
        mask = np.ones(rows.num_rows, bool) if alive is None else alive[first : first + rows.num_rows]
        if len(mask) != rows.num_rows:
            raise InputError(f"{path}: more documents than the {len(alive or ())} decisions that came with them")
        yield Batch(first, rows, mask)
        first += rows.num_rows
    if alive is not None and first != len(alive):
        raise InputError(f"{path}: {first} documents, but {len(alive)} decisions came with them")


def alive_rows(inputs: Mapping[str, Artifact], rank: int) -> np.ndarray | None:
    """Return a bool a row of shard `rank`: no earlier step has dropped it; None without a `decisions` input."""
    if "decisions" not in inputs:
        return None
    reasons = pq.read_table(inputs["decisions"].files("decisions")[rank], columns=["reason"])["reason"]
    return np.asarray(reasons.is_null())


def measured_column(inputs: Mapping[str, Artifact], rank: int, name: str) -> pa.Array:
    """Return a measured value of every document of shard `rank`, null where a document was not measured.

    Read from all roles that begin with `measures`, in the order of their numbers; where several have the column, the
    later one counts if it has a value, as in `why`. Raises InputError when none has it.
    """
    known: set[str] = set()
    found: pa.Array | None = None
    for path in measures_of(inputs, rank):
        names = set(pq.read_schema(path).names) - {"id"}
        known |= names
        if name in names:
            values = pq.read_table(path, columns=[name])[name].combine_chunks()
            found = values if found is None else pc.coalesce(values, found.cast(values.type))  # type: ignore[attr-defined]
    if found is None:
        raise InputError(f"nothing called {name!r} was measured before: {nearest(name, known)}")
    rows = pq.read_metadata(inputs["documents"].files("documents")[rank]).num_rows
    if len(found) != rows:
        raise InputError(f"shard {rank}: {rows} documents, but {len(found)} measured values came with them")
    return found


def batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of a Parquet file, `BATCH_ROWS` rows each, text as large strings."""
    with pq.ParquetFile(path) as file:
        missing = sorted(set(columns) - set(file.schema_arrow.names))
        if missing:
            raise InputError(f"{path} has no column {missing[0]!r}: it is no file of documents")
        yield from file.iter_batches(batch_size=BATCH_ROWS, columns=columns)


def text_buffers(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return (UTF-8 bytes u8, offsets i64 of one more than the rows) of a string column, without copying if large.

    Null rows are empty spans.
    """
    large = column if pa.types.is_large_string(column.type) else column.cast(pa.large_string())
    _, offsets, data = large.buffers()
    ends = np.frombuffer(offsets, np.int64)[large.offset : large.offset + len(large) + 1]
    held = np.zeros(1, np.uint8) if data is None or data.size == 0 else np.frombuffer(data, np.uint8)
    return held, ends


def check_column(name: str) -> str:
    """Return the name of a document column, or raise ValueError with the nearest right one."""
    if name not in DOCUMENT.names and not (name.startswith("meta.") and len(name) > 5):
        raise ValueError(f"documents have no column {name!r}: {nearest(name, DOCUMENT.names)} (or meta.KEY)")
    return name


def stored_columns(names: list[str]) -> list[str]:
    """Return the columns to read from disk for `names`: `meta.KEY` lies in `meta`."""
    return sorted({name.partition(".")[0] if name.startswith("meta.") else name for name in names})


def column(rows: pa.RecordBatch, name: str) -> pa.Array:
    """Return a column by name; `meta.KEY` is taken out of the JSON object in `meta`, as text."""
    if name.startswith("meta."):
        return _from_json(rows.column("meta"), name.removeprefix("meta."))
    return rows.column(name)


def _from_json(meta: pa.Array, key: str) -> pa.Array:
    import orjson

    values: list[str | None] = []
    for text in meta.to_pylist():
        try:
            held = orjson.loads(text) if text else None
        except orjson.JSONDecodeError:
            held = None
        value = held.get(key) if isinstance(held, dict) else None
        values.append(value if value is None or isinstance(value, str) else orjson.dumps(value).decode())
    return pa.array(values, pa.string())
