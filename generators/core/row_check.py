"""Rows of generators held against their schema before they are counted and written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import pyarrow as pa
from blake3 import blake3

from windtunnel.schemas.errors import WindtunnelError, nearest
from windtunnel.schemas.records import MESSAGES


class RowCheck:
    """Checks the rows of one generator, table by table, and that one id does not mean two rows.

    Equal rows may come twice, as from a model that answers alike; ids are compared within a shard.
    """

    def __init__(self, generator: str, schemas: Mapping[str, pa.Schema]) -> None:
        self._generator = generator
        self._schemas = schemas
        self._required = {
            name: [field.name for field in schema if not field.nullable] for name, schema in schemas.items()
        }
        self._digests: dict[str, bytes] = {}  # id of a row -> digest of its content

    def row(self, row: Any) -> None:
        """Raise WindtunnelError for a row that does not fit, or that has the id of another one."""
        self.table("rows", row)
        content = {key: value for key, value in row.items() if key != "lineage"}
        digest = blake3(json.dumps(content, sort_keys=True, default=repr).encode()).digest(8)
        if "id" in row and self._digests.setdefault(row["id"], digest) != digest:
            raise self._refused(f"keeps two different rows with the id {row['id']!r}: an id names one row")

    def table(self, name: str, row: Any) -> None:
        """Raise WindtunnelError for a row of the table `name` with missing, unknown or unfit fields."""
        if name not in self._schemas:
            raise self._refused(f"has no table {name!r}: {nearest(name, self._schemas)}; its `tables` declare them")
        what = "a row" if name == "rows" else f"a row of {name!r}"
        if not isinstance(row, Mapping):
            raise self._refused(f"gives a {type(row).__name__} for {what}: a row is a dict")
        schema = self._schemas[name]
        for key in self._required[name]:
            if row.get(key) is None:
                raise self._refused(f"gives {what} without {key!r}, which every row needs")
        for key, value in row.items():
            at = schema.get_field_index(key)
            if at < 0:
                raise self._refused(f"gives {what} with the unknown field {key!r}: {nearest(key, schema.names)}")
            if value is not None and (wrong := _wrong(schema.field(at).type, value)):
                raise self._refused(f"gives {what} whose {key!r} {wrong}")

    def _refused(self, said: str) -> WindtunnelError:
        return WindtunnelError(f"generator {self._generator!r} {said}")


def _wrong(kind: pa.DataType, value: Any) -> str:
    """Return what is wrong with a value of this type, an empty string if nothing; Arrow checks other types."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _wrong_text(value)
    if pa.types.is_floating(kind) and not isinstance(value, Real):
        return f"is a {type(value).__name__}, not a number"
    if kind == MESSAGES:
        return _wrong_messages(value)
    return ""


def _wrong_text(value: Any) -> str:
    if not isinstance(value, str):
        return f"is a {type(value).__name__}, not text"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "holds half of a surrogate pair, which UTF-8 cannot"
    return ""


def _wrong_messages(value: Any) -> str:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return f"is a {type(value).__name__}, not a list of messages"
    if not value:
        return "holds no message"
    for message in value:
        if not isinstance(message, Mapping) or message.keys() != {"role", "content"}:
            return "holds something else than messages, which have a 'role' and a 'content' and no more"
        for key in ("role", "content"):
            if wrong := _wrong_text(message[key]):
                return f"has a message whose {key!r} {wrong}"
    return ""
