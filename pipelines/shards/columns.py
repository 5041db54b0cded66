"""Columns of documents by name, including `meta.KEY`: a value in the JSON object of the column `meta`."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
import pyarrow as pa

from windtunnel.schemas.errors import nearest
from windtunnel.schemas.records import DOCUMENT

META = "meta."


def check_column(name: str) -> str:
    """Return the name of a document column, or raise ValueError with the nearest right one."""
    if name not in DOCUMENT.names and not (name.startswith(META) and len(name) > len(META)):
        raise ValueError(f"documents have no column {name!r}: {nearest(name, DOCUMENT.names)} (or meta.KEY)")
    return name


def stored_columns(names: Iterable[str]) -> list[str]:
    """Return the Parquet columns that `names` are read from, sorted."""
    return sorted({"meta" if name.startswith(META) else name for name in names})


def column(rows: pa.RecordBatch, name: str) -> pa.Array:
    """Return a column by name; the value of `meta.KEY` as text, null where `meta` has no such key."""
    if not name.startswith(META):
        return rows.column(name)
    key = name.removeprefix(META)
    return pa.array([_json_value(meta, key) for meta in rows.column("meta").to_pylist()], pa.string())


def _json_value(meta: str | None, key: str) -> str | None:
    try:
        fields = orjson.loads(meta) if meta else None
    except orjson.JSONDecodeError:
        return None
    value = fields.get(key) if isinstance(fields, dict) else None
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
