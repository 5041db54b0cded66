"""The columns of JSON lines: one schema that fits the values of all files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from windtunnel.pipelines.files.formats import Reader, reader_of
from windtunnel.pipelines.files.row_texts import RowView
from windtunnel.pipelines.readers.batches import Remark, Unreadable
from windtunnel.pipelines.sources.jsonl import Jsonl
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts, Work

RECORDS = 4096  # as Python objects at once
MOST_COLUMNS = 2000
DEEPEST = 32  # Parquet refuses a schema of more than 100 levels, and a list counts as several


class UserColumns(Work):
    """Infer the columns of each part; write `columns/NNNNN.arrow`, an Arrow schema. Unreadable lines are skipped."""

    parts: tuple[dict[str, Any], ...]
    text: str = "text"
    view: RowView | None = None

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude=None if self.view else {"view"})

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(self.parts)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        path = self.parts[rank]["path"]
        reader = self.view.reader(path) if self.view else reader_of(path, self.text)
        schema, seen = pa.schema([pa.field(self.text, pa.large_string())]), 0
        for records in records_of(reader, self.parts[rank], self.text):
            if not isinstance(records, list):
                continue
            schema = wider(schema, schema_of(records))
            seen += len(records)
        with writing(out / "columns" / f"{rank:05d}.arrow") as path:
            path.write_bytes(schema.serialize())
        return Counts(seen=seen, kept=seen)


def columns_of(columns: Artifact) -> pa.Schema:
    """Return the columns of all parts together; JSON as text where no type fits every value."""
    schema = pa.schema([])
    for path in columns.files("columns", ".arrow"):
        schema = wider(schema, pa.ipc.read_schema(pa.BufferReader(path.read_bytes())))
    return pa.schema([field if _storable(field.type) else pa.field(field.name, pa.large_string()) for field in schema])


def records_of(reader: Reader, part: dict[str, Any], text: str) -> Iterator[list[dict[str, Any]] | Remark]:
    """Yield the records of a part, at most `RECORDS` at once, and what the reader says beside them.

    A record of more than `MOST_COLUMNS` fields is unreadable (too_many_fields).
    """
    for batch in reader.read(part):
        if isinstance(batch, Remark):
            yield batch
            continue
        for first in range(0, batch.num_rows, RECORDS):
            rows = batch.slice(first, RECORDS).select(["source", "url", "lang", "meta", "text"]).to_pylist()
            found = [_record(row, text, isinstance(reader, Jsonl)) for row in rows]
            for number in (number for number, record in enumerate(found) if len(record) > MOST_COLUMNS):
                detail = f"{len(found[number])} fields in one record: {rows[number]['text'][:50]!r}"
                yield Unreadable(rows[number]["source"], reader.place(part), "too_many_fields", detail)
            yield [record for record in found if len(record) <= MOST_COLUMNS]


def _record(row: dict[str, Any], text: str, of_fields: bool) -> dict[str, Any]:
    """Return a document as a record; where it came from a record with fields, `meta` holds all of these."""
    about = {} if of_fields else {name: row[name] for name in ("source", "url", "lang")}
    return {text: row["text"], **about, **(orjson.loads(row["meta"]) if row["meta"] else {})}


def schema_of(records: list[dict[str, Any]]) -> pa.Schema:
    """Return the columns of some records."""
    values: dict[str, list[Any]] = {}
    for record in records:
        for name, value in record.items():
            values.setdefault(name, []).append(value)
    fields = []
    for name, column in values.items():
        try:
            kind = pa.array(column).type
        except (pa.ArrowException, OverflowError):
            kind = pa.large_string()
        fields.append(pa.field(name, kind if _depth(kind) <= DEEPEST else pa.large_string()))
    return pa.schema(fields)


def wider(schema: pa.Schema, more: pa.Schema) -> pa.Schema:
    """Return the schema widened to fit the values of another one too; raises InputError for too many columns."""
    fields = {field.name: field for field in schema}
    for field in more:
        before = fields.setdefault(field.name, field)
        if before.type == field.type:
            continue
        try:
            parts = [pa.schema([before]), pa.schema([field])]
            fields[field.name] = pa.unify_schemas(parts, promote_options="permissive").field(0)
        except pa.ArrowException:
            fields[field.name] = pa.field(field.name, pa.large_string())
    if len(fields) > MOST_COLUMNS:
        few = ", ".join(repr(name[:30]) for name in list(fields)[-3:])
        raise InputError(
            f"the records have more than {MOST_COLUMNS:,} different fields ({few} ...), and each would be a column: "
            "keys that are values belong below one field"
        )
    return pa.schema(list(fields.values()))


def table_of(records: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return records as a table; in a text column, values that are not text are written as JSON."""
    columns = {}
    for field in schema:
        values = [record.get(field.name) for record in records]
        if pa.types.is_large_string(field.type):
            values = [v if v is None or isinstance(v, str) else orjson.dumps(v).decode() for v in values]
        elif pa.types.is_floating(field.type):
            values = [v if v is None else float(v) for v in values]  # Arrow refuses whole numbers above 2^53
        columns[field.name] = pa.array(values, field.type)
    return pa.table(columns, schema=schema)


def _depth(kind: pa.DataType) -> int:
    """Return the nesting depth of a type."""
    depth, level = 0, [kind]
    while level:
        depth, level = depth + 1, [inner.field(i).type for inner in level for i in range(inner.num_fields)]
    return depth


def _storable(kind: pa.DataType) -> bool:
    """Return whether Parquet can hold a type: a struct needs a field, at every depth."""
    children = [kind.field(i).type for i in range(kind.num_fields)]
    return not (pa.types.is_struct(kind) and not children) and all(map(_storable, children))
