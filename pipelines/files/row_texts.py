"""Files of conversations or preferences in filter, dedup and decontaminate: the text of a row, beside its columns.

A file without the text column, whose columns have a known layout of rows, is seen by a text of each row: the question,
the answers or the whole conversation. The text is a column of its own until the rows are sorted; it is not written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa

from windtunnel.pipelines.files.formats import TEXT_OPTION, Reader, reader_of
from windtunnel.pipelines.layouts._layout import Layout, Pair, Refused
from windtunnel.pipelines.layouts._recognise import Votes
from windtunnel.pipelines.readers.batches import Remark, Row, Unreadable, meta_json
from windtunnel.pipelines.readers.columns import Slice, records
from windtunnel.pipelines.readers.fields import Fields
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.rows.read_rows import PEEKED
from windtunnel.pipelines.rows.texts import TEXT_OF, On
from windtunnel.schemas.errors import InputError, RecipeError
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
    votes = Votes()
    try:
        voting = reader_of(str(path), text).reading(lambda fields: votes)  # type: ignore[union-attr]
        for _ in islice(voting.records(voting.parts()[0]), PEEKED):
            pass
        layout = votes.layout(str(path)) if text not in votes.columns else None
    except (AttributeError, InputError, OSError, pa.ArrowException):  # no file of records, or of no layout
        return None
    return None if layout is None else RowView(full_spec(layout), text if text in VIEWS else on)  # type: ignore[arg-type]


class RowText:
    """Reads a record as the text of its row, with all its fields in `meta`."""

    def __init__(self, fields: Fields, layout: Layout, on: On) -> None:
        self.fields, self.layout, self._on = fields, layout, on

    @property
    def origin(self) -> str:
        return self.fields.origin

    def wanted(self, names: list[str]) -> list[str]:
        return names

    def check(self, columns: list[str], where: str) -> None:
        """Raise InputError for a file of another layout."""
        if not self.layout.fits(columns):
            name = next(iter(full_spec(self.layout)))
            raise InputError(f"{where} has no column 'text', nor the layout {name!r} of the first file; {TEXT_OPTION}")

    def row(self, record: Mapping[str, Any], where: str, replace: bool = False) -> Row | Unreadable:
        """Return the text of a row, or an Unreadable with the layout's reason, or no_text."""
        try:
            row = self.layout.row(record)
            turns = [*row.prompt, *row.chosen, *row.rejected] if isinstance(row, Pair) else row.messages
            text = TEXT_OF[self._on](turns)
            text.encode()
            if not text.strip():
                return Unreadable(self.origin, where, "no_text", f"the row has no {self._on}")
            return Row(text, self.origin, meta=meta_json(record))
        except Refused as error:
            return Unreadable(self.origin, where, error.reason, str(error)[:300])
        except (TypeError, ValueError, RecursionError) as error:
            return Unreadable(self.origin, where, "unusable_field", str(error)[:200])


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
