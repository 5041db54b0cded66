"""Makes rows of conversations or preferences of the records of a file, by a layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from windtunnel.pipelines.layouts._layout import Chat, Layout, Pair, Refused
from windtunnel.pipelines.layouts._recognise import advice, check_layout, other, recognised
from windtunnel.pipelines.readers.batches import Unreadable
from windtunnel.pipelines.readers.fields import Fields, mended_record
from windtunnel.schemas import turns
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import label
from windtunnel.schemas.records import document_id

_ID_CHARACTERS = 200
WATCHED = 100  # rows, by which it is known what columns are read
Row = dict[str, Any]


class _Watched(dict[str, Any]):
    """A record that notes which of its fields are looked into."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        super().__init__(record)
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.used.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.used.add(name)
        return super().get(name, default)


class RowReader:
    """Reads records by `layout`; without one, it recognises the layout by the first columns that it sees."""

    def __init__(self, fields: Fields, layout: Layout | None = None) -> None:
        self.fields = fields
        self.layout = layout
        self._columns: set[str] = set()  # of the first rows, that hold something
        self._used: set[str] = set()
        self._watched = 0

    @property
    def origin(self) -> str:
        return self.fields.origin

    def wanted(self, names: list[str]) -> list[str]:
        """Return all columns: which of them hold the row is the layout's matter."""
        return names

    def check(self, columns: list[str], where: str) -> None:
        """Raise InputError where the layout does not fit the columns, or none does."""
        self.layout = self.layout or recognised(columns, where)
        check_layout(self.layout, columns, where)

    def row(self, record: Mapping[str, Any], where: str, replace: bool = False) -> Any:
        """Return a row of OWN_CONVERSATION or OWN_PREFERENCE, or an Unreadable with the reason code of the layout.

        Further reason codes: other_layout, unknown_layout, lone_surrogate, too_large, unusable_field.
        """
        try:
            return self.made(*self.read(record, where), record, where)
        except Refused as error:
            return Unreadable(self.origin, where, error.reason, str(error)[:300])
        except InputError as error:  # the first record, of no known layout
            return Unreadable(self.origin, where, "unknown_layout", str(error)[:300])
        except (TypeError, ValueError, RecursionError) as error:
            if replace and (mended := mended_record(record)) is not None:
                return self.row(mended, where)
            reason = "lone_surrogate" if "surrogates" in str(error) else "unusable_field"
            return Unreadable(self.origin, where, reason, str(error)[:200])

    def made(self, layout: Layout, row: Chat | Pair, record: Mapping[str, Any], where: str) -> Any:
        """Return what is made of the row that the layout has read from a record; raises Refused, TypeError for JSON."""
        source = self._source(record)
        about: dict[str, Any] = {"layout": label(layout), "where": where}
        if isinstance(name := record.get("id"), (str, int)) and not isinstance(name, bool):
            about["id"] = str(name)[:_ID_CHARACTERS]
        whole = orjson.dumps([*row], default=str, option=orjson.OPT_SORT_KEYS)  # raises TypeError for lone surrogates
        if len(whole) > self.fields.max_document_bytes:
            raise Refused("too_large", f"{len(whole)} bytes")
        columns = (
            {"prompt": row.prompt, "chosen": row.chosen, "rejected": row.rejected}
            if isinstance(row, Pair)
            else {"messages": row.messages}
        )
        plain, further = {}, {}
        for column, messages in columns.items():
            plain[column], further[column] = turns.split(messages)
        return {
            "id": document_id(source, whole.decode()),
            **plain,
            **_rated(row),
            "source": source,
            "lineage": orjson.dumps(about, option=orjson.OPT_SORT_KEYS).decode(),
            "extras": turns.extras(further, row.tools),
        }

    def read(self, record: Mapping[str, Any], where: str) -> tuple[Layout, Chat | Pair]:
        """Return a record's layout and row; raises Refused, for a record of another layout with its name."""
        if self.layout is None:
            self.layout = recognised(record, where)
        try:
            if not self.layout.fits(record):
                raise Refused("unknown_layout", advice(record))
            return self.layout, self.layout.row(record) if self._watched == WATCHED else self._watch(
                self.layout, record
            )
        except Refused as error:
            if name := other(record, self.layout):
                raise Refused("other_layout", f"the layout {name!r}, the set has {label(self.layout)!r}") from error
            raise

    def _watch(self, layout: Layout, record: Mapping[str, Any]) -> Chat | Pair:
        """Return the row of a record, and note which columns the layout looked into."""
        seen = _Watched(record)
        row = layout.row(seen)
        self._watched += 1
        self._columns.update(name for name, value in record.items() if value is not None)
        self._used |= seen.used
        return row

    @property
    def unread(self) -> list[str]:
        """The columns of the first rows that are no part of a row: what they hold is not learnt from."""
        return sorted(self._columns - self._used - {"id", self.fields.source})

    def _source(self, record: Mapping[str, Any]) -> str:
        named = record.get(self.fields.source) if self.fields.source else None
        return str(named) if named is not None else self.origin


def _rated(row: Any) -> Row:
    if isinstance(row, Pair):
        return {"rating_chosen": row.ratings[0], "rating_rejected": row.ratings[1], "judge": None}
    return {"label": row.label}
