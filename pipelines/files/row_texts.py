"""Files of conversations or preferences in filter, dedup and decontaminate: the text of a row, beside its columns.

A file without the text column, whose columns have a known layout of rows, is seen by a text of each row: the question,
the answers or the whole conversation. The text is a column of its own until the rows are sorted; it is not written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from windtunnel.pipelines.files.formats import Reader, reader_of
from windtunnel.pipelines.layouts._layout import Chat, Layout, Pair, Refused
from windtunnel.pipelines.readers.batches import Remark, Row, Unreadable, meta_json
from windtunnel.pipelines.readers.columns import Slice, records
from windtunnel.pipelines.readers.fields import Fields
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.rows.peek import layout_of
from windtunnel.pipelines.rows.reader import RowReader
from windtunnel.pipelines.rows.texts import TEXT_OF, On
from windtunnel.pipelines.sources._source import RecordSource
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import full_spec, make

COLUMN = "windtunnel: text of the row"  # a name that no file has
VIEWS: tuple[On, ...] = ("question", "answers", "conversation")


class RowView(NamedTuple):
    """The layout of files of rows, and which text of a row is looked at."""

    layout: dict[str, Any]
    on: On

    def reader(self, path: str) -> Reader:
        """Return the source of a file, whose records are read as the texts of rows."""
        layout = make(Layout, self.layout)
        return reader_of(path, COLUMN).reading(lambda fields: RowText(fields, layout, self.on))  # type: ignore[union-attr]


def view_of(path: File, text: str, on: On) -> RowView | None:
    """Return how a file of rows is looked at; None for one that has the text column, or is no file of rows.

    `text` may name a view instead of a column; without one, `on` is taken.
    """
    if text != "text" and text not in VIEWS:
        return None
    reader = reader_of(str(path), text)
    if not isinstance(reader, RecordSource):
        return None
    layout = layout_of(reader)
    return None if layout is None else RowView(full_spec(layout), text if text in VIEWS else on)  # type: ignore[arg-type]


class RowText(RowReader):
    """Reads a record as the text of its row, with all its fields in `meta`."""

    def __init__(self, fields: Fields, layout: Layout, on: On) -> None:
        super().__init__(fields, layout)
        self._on = on

    def made(self, layout: Layout, row: Chat | Pair, record: Mapping[str, Any], where: str) -> Row:
        """Return the text of a row; raises Refused (no_text) for a row without one."""
        turns = [*row.prompt, *row.chosen, *row.rejected] if isinstance(row, Pair) else row.messages
        text = TEXT_OF[self._on](turns)
        if not text.strip():
            raise Refused("no_text", f"the row has no {self._on}")
        return Row(text, self.origin, meta=meta_json(record))


def with_texts(rows: Slice, schema: pa.Schema, reader: Any) -> Iterator[pa.Table | Remark]:
    """Yield the rows of a slice that have a text, with it in COLUMN, and why the others have none."""
    texts: list[str | None] = []
    for item in records(rows, reader):
        if isinstance(item, Unreadable):
            yield item
        texts.append(item.text if isinstance(item, Row) else None)
    whole = pa.Table.from_batches([rows.batch]).append_column(COLUMN, pa.array(texts, pa.large_string())).cast(schema)
    yield whole.filter(pa.array([text is not None for text in texts], pa.bool_()))


def refuse_edits(view: RowView | None, edits: bool) -> None:
    """Raise RecipeError for a method that would write the text of rows anew."""
    if view is not None and edits:
        raise RecipeError("this method cuts text out, and rows of conversations stay or go whole: take another one")
