"""A user's own files as documents, with all their columns kept beside them, row by row."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.files.formats import (
    TEXT_OPTION,
    Reader,
    check_columns,
    files_of,
    others_beside,
    reader_of,
    stored_schema,
)
from windtunnel.pipelines.files.row_texts import COLUMN, RowView, view_of, with_texts
from windtunnel.pipelines.files.user_columns import UserColumns, columns_of, records_of, table_of
from windtunnel.pipelines.readers.batches import Remark, Unreadable
from windtunnel.pipelines.readers.columns import Slice, python_values
from windtunnel.pipelines.readers.fields import MissingColumn
from windtunnel.pipelines.readers.listing import summary
from windtunnel.pipelines.readers.paths import Fingerprint
from windtunnel.pipelines.remote.address import checked
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.rows.texts import On
from windtunnel.pipelines.sources._books import Books, check_any_read
from windtunnel.pipelines.sources._columnar import ColumnSource
from windtunnel.pipelines.sources._read import NOT_READ, text_bytes
from windtunnel.pipelines.sources.jsonl import Jsonl
from windtunnel.schemas.artifact import PARQUET, Artifact, writing
from windtunnel.schemas.errors import InputError, RecipeError, nearest
from windtunnel.schemas.records import DOCUMENT, document_id
from windtunnel.schemas.role import StepName
from windtunnel.schemas.work import Counts, Work

SHARD_BYTES = 64 << 20  # of all columns, uncompressed: what follows takes memory by the shard, not by the file
SHARD_ROWS = 1 << 16
_PLAIN = ("url", "lang")


class UserRows(Work):
    """Reads each part into `documents/` (DOCUMENT) and `rows/` (its own columns), row-aligned, and `unreadable/`.

    Parts are files, or row groups or byte ranges of them. A part is written in shards of bounded size,
    `PART-SHARD.parquet`, or in one where `whole` is true. `meta` names the columns that go into the documents' `meta`,
    for methods that look at them. Input: `columns` (UserColumns), where there are JSON lines. A row without readable
    text is unreadable; the lost rows of a damaged row group all count, and have one line in `unreadable/`.
    """

    version: ClassVar[int] = 4
    source: str = ""
    parts: tuple[dict[str, Any], ...]
    text: str = "text"
    meta: tuple[str, ...] = ()
    whole: bool = False
    view: RowView | None = None  # of files of conversations or preferences

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude=None if self.view else {"view"})

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(self.parts)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        part = self.parts[rank]
        path = Fingerprint.check(part)
        reader = self.view.reader(str(path)) if self.view else reader_of(str(path), self.text)
        schema = stored_schema(reader, path, self.text) or columns_of(inputs["columns"])
        self._check_meta(schema)
        with Books(out, rank) as books, _Shards(out, rank, schema, self.whole) as shards:
            for rows in self._rows(reader, path, part, schema):
                if isinstance(rows, Remark):
                    books.remark(rows)
                    continue
                documents = documents_of(rows, self.text, reader.origin(path), self.meta)
                shards.add(rows, documents)
                books.keep(rows.num_rows, sum(text_bytes(batch) for batch in documents.to_batches()))
        counts = books.counts(reader.place(part))
        if rank == 0 and (left_out := summary(others_beside(self.source))):
            counts.notes[NOT_READ] = left_out
        return counts

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        """Raises InputError where nothing at all could be read."""
        check_any_read(out)

    def _check_meta(self, schema: pa.Schema) -> None:
        """Raise InputError for a column that no line of any file has; one that some lines lack is null there."""
        for name in self.meta:
            if name not in schema.names:
                raise InputError(f"no line has a field {name!r}, by which to compare: {nearest(name, schema.names)}")

    def _rows(self, reader: Reader, path: File, part: dict[str, Any], schema: pa.Schema) -> Iterator[pa.Table | Remark]:
        """Yield the rows that have text, and why the others have none."""
        if not isinstance(reader, ColumnSource):
            for records in records_of(reader, part, self.text):
                yield table_of(records, schema) if isinstance(records, list) else records
            return
        names = [name for name in schema.names if name != COLUMN]
        for item in reader.slices(path, part, names):
            if isinstance(item, Slice) and self.view:
                yield from with_texts(item, schema, reader.fields(path))
            elif isinstance(item, Slice):
                yield from self._readable(item, schema, reader.origin(path))
            else:
                yield item

    def _readable(self, rows: Slice, schema: pa.Schema, origin: str) -> Iterator[pa.Table | Unreadable]:
        texts = python_values(rows.batch.column(self.text))
        good = np.array([isinstance(text, str) and text != "" for text in texts], bool)
        for row in np.flatnonzero(~good).tolist():
            text = texts[row]
            error = "no_text" if text is None else "invalid_utf8" if isinstance(text, bytes) else "empty_text"
            yield Unreadable(origin, f"{rows.where}:{rows.first + row}", error, f"column {self.text!r}")
        yield pa.Table.from_batches([rows.batch]).cast(schema).filter(pa.array(good))  # no filter takes string views


def documents_of(rows: pa.Table, text: str, origin: str, meta: Sequence[str] = ()) -> pa.Table:
    """Return rows as documents (DOCUMENT): id, source, url and lang from columns of strings or numbers, if any.

    A row without an id gets the hash of its source and text, one without a source gets `origin`. `meta` names the
    columns that go into `meta`.
    """
    texts = rows[text].cast(pa.large_string())
    source = _words(rows, "source").fill_null(origin)
    hashes = [document_id(s, t) for s, t in zip(source.to_pylist(), texts.to_pylist(), strict=True)]
    held = [python_values(rows[name].combine_chunks()) for name in meta]
    columns = {
        "id": pc.coalesce(_words(rows, "id"), pa.array(hashes, pa.string())),  # type: ignore[attr-defined]
        "text": texts,
        "source": source,
        **{name: _words(rows, name) for name in _PLAIN},
        "meta": pa.array(
            [orjson.dumps(dict(zip(meta, row, strict=True)), default=str).decode() for row in zip(*held, strict=True)]
            or [None] * rows.num_rows,
            pa.string(),
        ),
    }
    return pa.table(columns, schema=DOCUMENT)


class _Shards:
    """Writes rows and documents side by side, a new pair of files whenever one is full; at least one pair."""

    def __init__(self, out: Path, rank: int, schema: pa.Schema, whole: bool) -> None:
        self._out, self._rank, self._whole = out, rank, whole
        self._schemas = {"rows": schema, "documents": DOCUMENT}
        self._number, self._rows, self._bytes = 0, 0, 0

    def __enter__(self) -> _Shards:
        self._open()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def add(self, rows: pa.Table, documents: pa.Table) -> None:
        """Write some rows; they stay together."""
        full = self._rows + rows.num_rows > SHARD_ROWS or self._bytes + rows.nbytes > SHARD_BYTES
        if full and self._rows and not self._whole:
            self._stack.close()
            self._number, self._rows, self._bytes = self._number + 1, 0, 0
            self._open()
        self._writers["rows"].write_table(rows)
        self._writers["documents"].write_table(documents)
        self._rows += rows.num_rows
        self._bytes += rows.nbytes

    def _open(self) -> None:
        self._stack, self._writers = ExitStack(), {}
        for folder, schema in self._schemas.items():
            path = self._out / folder / f"{self._rank:05d}-{self._number:05d}.parquet"
            partial = self._stack.enter_context(writing(path))
            self._writers[folder] = self._stack.enter_context(pq.ParquetWriter(partial, schema, **PARQUET))


def user_rows(
    source: Path | str, text: str = "text", meta: Iterable[str] = (), whole: bool = False, on: On = "question"
) -> Step:
    """Return the step that reads a file or directory, in parts, or each file as one shard where `whole` is true.

    `source` is a path or an address. Raises RecipeError for an address that cannot be opened, InputError when there is
    nothing to read, the name of a file tells no format, a column is missing, or the text column has a name that the
    output needs; other columns of these names are renamed (see SortRows). `on`: the text of a row that is looked at,
    where the files hold conversations or preferences.
    """
    if text in ("why", "reason"):
        raise InputError(f"{source}: the text column {text!r} has the name of an output column: give it another name")
    try:
        checked(str(source))
    except ValueError as error:
        raise RecipeError(f"IN: {error}") from None
    if (Path(source) / "kept").is_dir() and (Path(source) / "dropped").is_dir():
        raise InputError(f"{source} is what filter or dedup has made, dropped rows and all: name {source}/kept")
    parts, lines = [], []
    files = files_of(source)
    view = view_of(files[0], text, on) if files else None
    text = COLUMN if view else text
    for path in files:
        reader = view.reader(str(path)) if view else reader_of(str(path), text)
        if isinstance(reader, ColumnSource) and not view:
            check_columns(reader, path, text, tuple(meta))
        try:
            of_file = reader.parts()
        except MissingColumn as error:  # the first lines do not hold it
            raise InputError(f"{error.what}; {TEXT_OPTION}") from None
        if whole:
            of_file = [{**of_file[0], **({"end": of_file[-1]["end"]} if "end" in of_file[0] else {})}]
        parts += of_file
        lines += of_file if isinstance(reader, Jsonl) else []
    work = UserRows(source=str(source), parts=tuple(parts), text=text, meta=tuple(meta), whole=whole, view=view)
    columns = Step(StepName("columns"), UserColumns(parts=tuple(lines), text=text, view=view))
    return Step(StepName("rows"), work, {"columns": columns} if lines else {})


def text_of(rows: Step) -> str:
    """Return the column that holds the text in what a step of `user_rows` reads."""
    assert isinstance(rows.work, UserRows)
    return rows.work.text


def view_in(rows: Step) -> RowView | None:
    """Return how rows of conversations are looked at by what a step of `user_rows` reads; None for documents."""
    assert isinstance(rows.work, UserRows)
    return rows.work.view


def workers_for(rows: Step) -> int:
    """Return how many workers pay for the parts that a step of `user_rows` reads: starting them takes seconds."""
    assert isinstance(rows.work, UserRows)
    return max(1, min(os.cpu_count() or 1, len(rows.work.parts)))


def _words(rows: pa.Table, name: str) -> pa.Array:
    """Return a column of strings or numbers as strings, nulls for any other one, none, or bytes that are not UTF-8."""
    at = rows.schema.get_field_index(name)
    column = rows.column(at).combine_chunks() if at >= 0 else pa.nulls(rows.num_rows)
    column = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.cast(pa.string())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return pa.nulls(rows.num_rows, pa.string())
    values = python_values(column)
    return pa.array([value if isinstance(value, str) else None for value in values], pa.string())
