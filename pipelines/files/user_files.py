"""A user's own Parquet or JSONL files as documents, with all their columns kept beside them, row by row."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.files.user_columns import UserColumns, columns_of, records_of, table_of
from windtunnel.pipelines.readers.batches import Unreadable
from windtunnel.pipelines.readers.columns import open_parquet, python_values, without_views
from windtunnel.pipelines.readers.fields import MissingColumn
from windtunnel.pipelines.readers.paths import COMPRESSIONS, Fingerprint, matching
from windtunnel.pipelines.remote.address import checked
from windtunnel.pipelines.remote.files import File, seekable
from windtunnel.pipelines.sources.jsonl import Jsonl
from windtunnel.pipelines.sources.parquet import Parquet, batch_rows
from windtunnel.schemas.artifact import PARQUET, Artifact, writing
from windtunnel.schemas.errors import InputError, RecipeError, nearest
from windtunnel.schemas.records import DOCUMENT, UNREADABLE, document_id
from windtunnel.schemas.role import StepName
from windtunnel.schemas.work import Counts, Work

LINES = (".jsonl", ".ndjson", ".json")
SUFFIXES = (".parquet", *LINES)
TEXT_OPTION = "name the column that holds the text by `--text COLUMN`"
SHARD_BYTES = 64 << 20  # of all columns, uncompressed: what follows takes memory by the shard, not by the file
SHARD_ROWS = 1 << 16
_PLAIN = ("url", "lang")


class Lost(NamedTuple):
    """What could not be read, and how many rows that are."""

    what: Unreadable
    rows: int = 1


class UserRows(Work):
    """Reads each part into `documents/` (DOCUMENT) and `rows/` (its own columns), row-aligned, and `unreadable/`.

    Parts are row groups or byte ranges of files. A part is written in shards of bounded size, `PART-SHARD.parquet`, or
    in one where `whole` is true. `meta` names the columns that go into the documents' `meta`, for methods that look at
    them. Input: `columns` (UserColumns), where there are JSON lines. A row without readable text is unreadable; the
    rows of a damaged row group all count, and have one line in `unreadable/`.
    """

    version: ClassVar[int] = 3
    parts: tuple[dict[str, Any], ...]
    text: str = "text"
    meta: tuple[str, ...] = ()
    whole: bool = False

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(self.parts)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        part = self.parts[rank]
        path = Fingerprint.check(part)
        if _is_parquet(path):
            schema = _parquet_schema(path, self.text)
            batches = self._parquet(path, part, schema)
        else:
            schema = columns_of(inputs["columns"])
            self._check_meta(schema)
            batches = self._lines(part, schema)
        kept, size, errors, unreadable = 0, 0, Counter[str](), []
        with _Shards(out, rank, schema, self.whole) as shards:
            for rows in batches:
                if isinstance(rows, Lost):
                    errors[rows.what.error] += rows.rows
                    unreadable.append(rows.what._asdict())
                    continue
                documents = documents_of(rows, self.text, path.stem, self.meta)
                shards.add(rows, documents)
                kept += rows.num_rows
                size += pc.sum(pc.binary_length(documents["text"])).as_py() or 0  # type: ignore[attr-defined]
        with writing(out / "unreadable" / f"{rank:05d}.parquet") as partial:
            pq.write_table(pa.Table.from_pylist(unreadable, UNREADABLE), partial, **PARQUET)
        return Counts(seen=kept + sum(errors.values()), kept=kept, unreadable=dict(sorted(errors.items())), bytes=size)

    def _check_meta(self, schema: pa.Schema) -> None:
        """Raise InputError for a column that no line of any file has; one that some lines lack is null there."""
        for name in self.meta:
            if name not in schema.names:
                raise InputError(f"no line has a field {name!r}, by which to compare: {nearest(name, schema.names)}")

    def _parquet(self, path: File, part: dict[str, Any], schema: pa.Schema) -> Iterator[pa.Table | Lost]:
        with open_parquet(path) as file:
            for group in range(part["first"], part["end"]):
                about, first, where = file.metadata.row_group(group), 0, f"{path.name}:{group}"
                try:
                    for batch in file.iter_batches(batch_rows(about), row_groups=[group]):
                        yield from self._readable(batch, schema, path.stem, where, first)
                        first += batch.num_rows
                except (OSError, pa.ArrowException) as error:
                    detail = f"rows {first} to {about.num_rows - 1} of row group {group}: {error}"
                    what = Unreadable(path.stem, where, "broken_row_group", detail[:300])
                    yield Lost(what, max(1, about.num_rows - first))

    def _readable(
        self, batch: pa.RecordBatch, schema: pa.Schema, origin: str, where: str, first: int
    ) -> Iterator[pa.Table | Lost]:
        """Yield the rows of a batch that have text, and why the others have none."""
        texts = python_values(batch.column(self.text))
        good = np.array([isinstance(text, str) and text != "" for text in texts], bool)
        for row in np.flatnonzero(~good).tolist():
            text = texts[row]
            error = "no_text" if text is None else "invalid_utf8" if isinstance(text, bytes) else "empty_text"
            yield Lost(Unreadable(origin, f"{where}:{first + row}", error, f"column {self.text!r}"))
        yield pa.Table.from_batches([batch]).cast(schema).filter(pa.array(good))  # no filter takes string views

    def _lines(self, part: dict[str, Any], schema: pa.Schema) -> Iterator[pa.Table | Lost]:
        for records in records_of(part, self.text):
            yield Lost(records) if isinstance(records, Unreadable) else table_of(records, schema)


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


def user_rows(source: Path | str, text: str = "text", meta: Iterable[str] = (), whole: bool = False) -> Step:
    """Return the step that reads a file or directory, in parts, or each file as one shard where `whole` is true.

    `source` is a path or an address. Raises RecipeError for an address that cannot be opened, InputError when there is
    nothing to read, a file is neither Parquet nor JSON lines, a column is missing, or the text column has a name that
    the output needs; other columns of these names are renamed (see SortRows).
    """
    if text in ("why", "reason"):
        raise InputError(f"{source}: the text column {text!r} has the name of an output column: give it another name")
    try:
        checked(str(source))
    except ValueError as error:
        raise RecipeError(f"IN: {error}") from None
    if (Path(source) / "kept").is_dir() and (Path(source) / "dropped").is_dir():
        raise InputError(f"{source} is what filter or dedup has made, dropped rows and all: name {source}/kept")
    parts: dict[str, list[dict[str, Any]]] = {"parquet": [], "lines": []}
    paths = matching(str(source), SUFFIXES)
    for path in paths:
        _check_name(path)
        if _is_parquet(path):
            _check_columns(path, text, tuple(meta))
            reader: Any = Parquet(path=str(path), text=text)
        else:
            reader = Jsonl(path=str(path), text=text)
        try:
            of_file = reader.parts()
        except MissingColumn as error:  # the first lines do not hold it
            raise InputError(f"{error.what}; {TEXT_OPTION}") from None
        if whole:
            of_file = [
                Fingerprint.of(path).part(**({"first": 0, "end": of_file[-1]["end"]} if _is_parquet(path) else {}))
            ]
        parts["parquet" if _is_parquet(path) else "lines"] += of_file
    places = {str(path): number for number, path in enumerate(paths)}
    ordered = sorted([*parts["parquet"], *parts["lines"]], key=lambda part: places[part["path"]])
    work = UserRows(parts=tuple(ordered), text=text, meta=tuple(meta), whole=whole)
    lines = tuple(parts["lines"])
    columns = Step(StepName("columns"), UserColumns(parts=lines, text=text))
    return Step(StepName("rows"), work, {"columns": columns} if lines else {})


def workers_for(rows: Step) -> int:
    """Return how many workers pay for the parts that a step of `user_rows` reads: starting them takes seconds."""
    assert isinstance(rows.work, UserRows)
    return max(1, min(os.cpu_count() or 1, len(rows.work.parts)))


def _is_parquet(path: File) -> bool:
    return path.suffix.lower() == ".parquet"


def _check_name(path: File) -> None:
    """Raise InputError for a file whose name says neither Parquet nor JSON lines: it would be misread."""
    name = path.name.lower()
    bare = Path(name).stem if name.endswith(COMPRESSIONS) else name
    if not (name.endswith(".parquet") or bare.endswith(LINES)):
        packed = bare.endswith(".parquet")
        advice = (
            "unpack it" if packed else f"name it {', '.join(LINES)} if it holds JSON lines, or convert it to Parquet"
        )
        raise InputError(f"{path} is neither Parquet nor JSON lines by its name: {advice}")


def _check_columns(path: File, text: str, meta: tuple[str, ...]) -> None:
    try:
        schema = pq.read_schema(seekable(path))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is not a whole Parquet file ({str(error)[:120]}): fetch it again") from error
    for name in (text, *meta):
        if name not in schema.names:
            advice = f"; {TEXT_OPTION}" if name == text else ""
            raise InputError(f"{path} has no column {name!r}: {nearest(name, schema.names)}{advice}")
    twice = [name for name, times in Counter(schema.names).items() if times > 1]
    if twice:
        raise InputError(f"{path} has several columns called {twice[0]!r}: rename them, few tools read such a file")
    if not is_text(schema.field(text).type):
        raise InputError(f"{path}: the column {text!r} holds {schema.field(text).type}, not text; {TEXT_OPTION}")


def _parquet_schema(path: File, text: str) -> pa.Schema:
    """Return a file's columns; text with a dictionary is written out, since edited text is in no dictionary."""
    fields = [field.with_type(without_views(field.type)) for field in pq.read_schema(seekable(path))]
    schema = pa.schema(fields)
    place = schema.get_field_index(text)
    kind = schema.field(place).type
    return schema.set(place, schema.field(place).with_type(kind.value_type)) if pa.types.is_dictionary(kind) else schema


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column of this type can hold the text: strings or bytes, also with a dictionary."""
    kind = without_views(kind.value_type if pa.types.is_dictionary(kind) else kind)
    return any(is_(kind) for is_ in (pa.types.is_string, pa.types.is_large_string, *_BINARY))


_BINARY = (pa.types.is_binary, pa.types.is_large_binary)


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
