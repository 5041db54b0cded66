"""A user's own Parquet or JSONL files as documents, with all their columns kept beside them, row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.sources.jsonl import Jsonl
from pipelines.text_in.batches import Unreadable
from pipelines.text_in.paths import Fingerprint, matching
from schemas.artifact import Artifact, writing
from schemas.errors import InputError, nearest
from schemas.records import DOCUMENT, UNREADABLE, document_id
from schemas.work import Counts, Work

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json")
BATCH = 4096
_PLAIN = ("url", "lang")


class OwnRows(Work):
    """Reads each file into `documents/` (DOCUMENT) and `rows/` (its own columns), row-aligned, and `unreadable/`.

    `meta` names the columns that go into the documents' `meta`, for methods that look at them. A row without text is
    counted as unreadable, and so is a file that cannot be read to its end, once.
    """

    files: tuple[dict[str, Any], ...]
    text: str = "text"
    meta: tuple[str, ...] = ()

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(self.files)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        path, name = Path(self.files[rank]["path"]), f"{rank:05d}.parquet"
        read = self._parquet if path.suffix == ".parquet" else self._jsonl
        schema = self._schema(path)
        kept, size, errors, unreadable = 0, 0, Counter[str](), []
        with (
            writing(out / "rows" / name) as rows_path,
            pq.ParquetWriter(rows_path, schema, compression="zstd") as rows_writer,
            writing(out / "documents" / name) as documents_path,
            pq.ParquetWriter(documents_path, DOCUMENT, compression="zstd") as documents_writer,
        ):
            for part in read(self.files[rank], schema):
                if isinstance(part, Unreadable):
                    errors[part.error] += 1
                    unreadable.append(part._asdict())
                    continue
                documents = self._documents(part, path)
                rows_writer.write_table(part)
                documents_writer.write_table(documents)
                kept += part.num_rows
                size += pc.sum(pc.binary_length(documents["text"])).as_py() or 0  # type: ignore[attr-defined]
        with writing(out / "unreadable" / name) as partial:
            pq.write_table(pa.Table.from_pylist(unreadable, UNREADABLE), partial, compression="zstd")
        return Counts(seen=kept + sum(errors.values()), kept=kept, unreadable=dict(sorted(errors.items())), bytes=size)

    def _schema(self, path: Path) -> pa.Schema:
        """Return the columns of a file; for JSONL, types that hold every value of it (JSON as text if none does)."""
        if path.suffix == ".parquet":
            return pq.read_schema(path).remove_metadata()
        schema = pa.schema([pa.field(self.text, pa.large_string())])
        for records in _chunks(self._records({"path": str(path)} | self._fingerprint(path))):
            schema = _wider(schema, records)
        return schema

    def _fingerprint(self, path: Path) -> dict[str, Any]:
        return next(part for part in self.files if part["path"] == str(path))

    def _parquet(self, part: dict[str, Any], schema: pa.Schema) -> Iterator[pa.Table | Unreadable]:
        path, first = Fingerprint.check(part), 0
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=1024):
                    table = pa.Table.from_batches([batch]).cast(schema)
                    texts = table[self.text].combine_chunks()
                    good = _readable(texts)
                    for row in np.flatnonzero(~good).tolist():
                        error = "empty_text" if texts[row].is_valid else "no_text"
                        yield Unreadable(path.stem, f"{path.name}:{first + row}", error, f"column {self.text!r}")
                    yield table.filter(pa.array(good))
                    first += table.num_rows
        except (OSError, pa.ArrowException) as error:
            yield Unreadable(path.stem, f"{path.name}:{first}", "broken_parquet", str(error)[:200])

    def _jsonl(self, part: dict[str, Any], schema: pa.Schema) -> Iterator[pa.Table | Unreadable]:
        held: list[dict[str, Any]] = []
        for record in self._records(part):
            if isinstance(record, Unreadable):
                yield record
                continue
            held.append(record)
            if len(held) == BATCH:
                yield _table(held, schema)
                held = []
        if held:
            yield _table(held, schema)

    def _records(self, part: dict[str, Any]) -> Iterator[dict[str, Any] | Unreadable]:
        for batch in Jsonl(path=part["path"], text=self.text, url=None, lang=None).read(part):
            if isinstance(batch, Unreadable):
                yield batch
                continue
            for text, meta in zip(batch.column("text").to_pylist(), batch.column("meta").to_pylist(), strict=True):
                yield {self.text: text, **(orjson.loads(meta) if meta else {})}

    def _documents(self, rows: pa.Table, path: Path) -> pa.Table:
        """Return the documents of rows: id, source, url and lang are taken over where a text column has that name."""
        count, names = rows.num_rows, rows.column_names
        text = rows[self.text].cast(pa.large_string())
        source = _strings(rows, "source").fill_null(path.stem) if "source" in names else pa.repeat(path.stem, count)
        made = [document_id(s, t) for s, t in zip(source.to_pylist(), text.to_pylist(), strict=True)]
        ids = _strings(rows, "id") if "id" in names else pa.nulls(count, pa.string())
        held = [rows[name].to_pylist() for name in self.meta]
        meta = [
            orjson.dumps(dict(zip(self.meta, row, strict=True)), default=str).decode()
            for row in zip(*held, strict=True)
        ]
        columns = {
            "id": pc.coalesce(ids, pa.array(made, pa.string())),  # type: ignore[attr-defined]
            "text": text,
            "source": source,
            **{name: _strings(rows, name) if name in names else pa.nulls(count, pa.string()) for name in _PLAIN},
            "meta": pa.array(meta if self.meta else [None] * count, pa.string()),
        }
        return pa.table(columns, schema=DOCUMENT)


def own_rows(source: Path, text: str = "text", meta: Iterable[str] = ()) -> OwnRows:
    """Return the work that reads a file or directory; raise InputError when there is none or a column is missing."""
    paths = matching(str(source), SUFFIXES)
    for path in paths:
        if path.suffix != ".parquet":
            Jsonl(path=str(path), text=text).parts()  # raises when the first lines do not hold the column
            continue
        try:
            names = pq.read_schema(path).names
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path} is not a whole Parquet file ({str(error)[:120]}): fetch it again") from error
        for name in (text, *meta):
            if name not in names:
                raise InputError(f"{path} has no column {name!r}: {nearest(name, names)}")
    return OwnRows(files=tuple(Fingerprint.of(path).part() for path in paths), text=text, meta=tuple(meta))


def _readable(texts: pa.Array) -> np.ndarray:
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise InputError(f"the text column holds {texts.type}, not text")
    return np.asarray(pc.fill_null(pc.greater(pc.binary_length(texts), 0), False))  # type: ignore[attr-defined]


def _strings(rows: pa.Table, name: str) -> pa.Array:
    return rows[name].combine_chunks().cast(pa.string())


def _chunks(records: Iterable[dict[str, Any] | Unreadable]) -> Iterator[list[dict[str, Any]]]:
    held: list[dict[str, Any]] = []
    for record in records:
        if not isinstance(record, Unreadable):
            held.append(record)
        if len(held) == BATCH:
            yield held
            held = []
    yield held


def _wider(schema: pa.Schema, records: list[dict[str, Any]]) -> pa.Schema:
    """Return the schema widened to hold these records."""
    for name in dict.fromkeys(key for record in records for key in record):
        values = [record.get(name) for record in records]
        try:
            found = pa.array(values).type
        except (pa.ArrowException, OverflowError):
            found = pa.large_string()
        at = schema.get_field_index(name)
        if at < 0:
            schema = schema.append(pa.field(name, found))
            continue
        try:
            parts = [pa.schema([schema.field(at)]), pa.schema([pa.field(name, found)])]
            wide = pa.unify_schemas(parts, promote_options="permissive").field(0)
        except pa.ArrowException:
            wide = pa.field(name, pa.large_string())
        schema = schema.set(at, wide)
    return schema


def _table(records: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    columns = {}
    for field in schema:
        values = [record.get(field.name) for record in records]
        if pa.types.is_large_string(field.type):
            values = [v if v is None or isinstance(v, str) else orjson.dumps(v).decode() for v in values]
        columns[field.name] = pa.array(values, field.type)
    return pa.table(columns, schema=schema)
