"""The step that reads a user's rows: parts become shards of rows, and whatever is no row is written down."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from windtunnel.pipelines.layouts._layout import Layout
from windtunnel.pipelines.layouts._recognise import check_layout
from windtunnel.pipelines.readers.batches import Remark, Unreadable
from windtunnel.pipelines.readers.fields import Fields
from windtunnel.pipelines.readers.listing import summary
from windtunnel.pipelines.rows.peek import peek
from windtunnel.pipelines.rows.reader import Row, RowReader
from windtunnel.pipelines.shards.writer import shard_writer
from windtunnel.pipelines.sources._books import Books, check_any_read
from windtunnel.pipelines.sources._read import NOT_READ, ORIGINS
from windtunnel.pipelines.sources._source import RecordSource, Source
from windtunnel.schemas.artifact import Artifact, canonical_json, write_text
from windtunnel.schemas.errors import RecipeError, WindtunnelError
from windtunnel.schemas.plugin import full_spec, label, make
from windtunnel.schemas.printable import escaped
from windtunnel.schemas.records import OWN_CONVERSATION, OWN_PREFERENCE
from windtunnel.schemas.work import Counts, Work

SCHEMAS = {"conversations": OWN_CONVERSATION, "preferences": OWN_PREFERENCE}
BATCH_ROWS, BATCH_BYTES = 2048, 8 << 20
ROWS = "rows"
UNREAD_COLUMNS = "columns_not_read"  # the note of what the first rows hold beside what their layout reads


class ReadRows(Work):
    """Reads each part of a source of records into `rows/NNNNN.parquet` and `unreadable/NNNNN.parquet`.

    `layout` is the spec of the layout that was recognised when the recipe was planned; null where no file had a record.
    Rows are those of OWN_CONVERSATION or OWN_PREFERENCE; their `lineage` says file, line and the user's id.
    """

    version: ClassVar[int] = 1
    source: str
    params: dict[str, Any]
    layout: dict[str, Any] | None
    parts: tuple[dict[str, Any], ...]

    def plugin(self) -> RecordSource:
        source = make(Source, {self.source: self.params})
        assert isinstance(source, RecordSource)
        return source

    def layout_of(self) -> Layout | None:
        return None if self.layout is None else make(Layout, self.layout)

    def plugins(self) -> list[Source | Layout]:
        layout = self.layout_of()
        return [self.plugin(), *([layout] if layout else [])]

    @property
    def gives(self) -> str:
        """`conversations` or `preferences`."""
        layout = self.layout_of()
        return layout.gives if layout else "conversations"

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(self.parts)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        source, readers = self._opened()
        schema = SCHEMAS[self.gives]
        held: list[Row] = []
        size = 0
        with Books(out, rank) as books, shard_writer(out, ROWS, rank, schema) as writer:
            for item in source.records(self.parts[rank]):
                if isinstance(item, Remark):
                    books.remark(item)
                    continue
                if "prompt" in item and "prompt" not in schema.names:
                    books.remark(Unreadable(item["source"], item["lineage"], "other_layout", "a pair"))
                    continue
                held.append(item)
                bytes_ = content_bytes(item)
                size += bytes_
                books.keep(1, bytes_)
                if len(held) == BATCH_ROWS or size >= BATCH_BYTES:
                    writer.write_table(pa.Table.from_pylist(held, schema=schema))
                    held, size = [], 0
            writer.write_table(pa.Table.from_pylist(held, schema=schema))
        counts = books.counts(source.place(self.parts[rank]))
        if rank == 0 and (left_out := summary(source.left_out())):
            counts.notes[NOT_READ] = left_out
        if rank == 0 and (unread := _unread(readers)):
            counts.notes[UNREAD_COLUMNS] = unread
        return counts.check(f"read rows {rank}")

    def first(self, number: int) -> tuple[list[Row], str]:
        """Return the first rows, at most `number`, and the columns beside theirs; broken files are the run's matter."""
        source, readers = self._opened()
        rows: list[Row] = []
        with suppress(WindtunnelError, OSError):
            records = islice((item for part in self.parts for item in source.records(part)), 4 * number)
            rows += islice((item for item in records if not isinstance(item, Remark)), number)
        return rows, _unread(readers)

    def _opened(self) -> tuple[RecordSource, list[RowReader]]:
        """Return the source, and the list that the readers of its files come into."""
        layout, readers = self.layout_of(), list[RowReader]()

        def reader(fields: Fields) -> RowReader:
            readers.append(RowReader(fields, layout))
            return readers[-1]

        return self.plugin().reading(reader), readers

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        """Write what is known of licence and origin, for cards.

        Raises InputError where nothing was a row: it names the commonest reason and an example.
        """
        check_any_read(out, ROWS)
        write_text(out / ORIGINS, canonical_json(self.plugin().origins()))


def read_rows_work(spec: Any, layout: Any = None) -> ReadRows:
    """Return the step for rows of a recipe's source: looks at the files, so InputError and RecipeError are possible."""
    source = make(Source, spec)
    if not isinstance(source, RecordSource):
        raise RecipeError(
            f"the source {label(source)!r} gives documents; rows are read by jsonl, parquet, csv, arrow or hf"
        )
    votes, parts = peek(source)
    place = source.place(parts[0]) if parts else "the source"
    chosen = make(Layout, layout) if layout is not None else votes.layout(place)
    if chosen is not None:
        for file, columns in votes.files.items():
            check_layout(chosen, columns, file)
    ((name, params),) = full_spec(source).items()
    return ReadRows(source=name, params=params, layout=full_spec(chosen) if chosen else None, parts=tuple(parts))


def _unread(readers: list[RowReader]) -> str:
    return ", ".join(map(escaped, sorted({name for reader in readers for name in reader.unread})))


def content_bytes(row: Mapping[str, Any]) -> int:
    """Return the bytes of all contents of a row."""
    lists = (row.get(column) or () for column in ("messages", "prompt", "chosen", "rejected"))
    return sum(text_bytes(turn["content"]) for messages in lists for turn in messages)


def text_bytes(text: str) -> int:
    """Return the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
