"""Converts a record with named fields into a document, with the other fields in `meta`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from windtunnel.pipelines.readers.batches import Row, Unreadable, meta_json
from windtunnel.schemas.errors import InputError, nearest


class MissingColumn(InputError):
    """A file lacks a column that a source reads; `what` is the message without the advice, which is for recipes."""

    what: str = ""
    parameter: str = ""


class RecordReader(Protocol):
    """What makes something of the records of a file: documents (Fields), or rows of conversations."""

    @property
    def origin(self) -> str:
        """The default of the column `source`, which also stands in remarks."""
        ...

    def row(self, record: Mapping[str, Any], where: str, replace: bool = False) -> Any:
        """Return what a record is, or an Unreadable."""
        ...

    def wanted(self, names: list[str]) -> list[str]:
        """Return those columns of a file that need to be read."""
        ...

    def check(self, columns: list[str], where: str) -> None:
        """Raise InputError for a file that lacks a column."""
        ...


class Fields(NamedTuple):
    """Field names of the records of a file, the default origin, and the size limit."""

    text: str
    url: str | None
    lang: str | None
    source: str | None
    meta: bool | tuple[str, ...]
    origin: str
    max_document_bytes: int

    def row(self, record: Mapping[str, Any], where: str, replace: bool = False) -> Row | Unreadable:
        """Return the document of a record, or an Unreadable.

        Reason codes: no_text (the field is missing or null), text_not_string, empty_text, invalid_utf8, too_large,
        lone_surrogate, unusable_field (another carried field cannot be stored as JSON or Arrow).
        """
        text = record.get(self.text)
        if isinstance(text, bytes):
            return Unreadable(self.origin, where, "invalid_utf8", f"column {self.text!r}")
        if not isinstance(text, str) or not text:
            error = "no_text" if text is None else "empty_text" if text == "" else "text_not_string"
            return Unreadable(self.origin, where, error, f"field {self.text!r}")
        if len(text) * 4 > self.max_document_bytes and len(text.encode("utf-8", "replace")) > self.max_document_bytes:
            return Unreadable(self.origin, where, "too_large", f"{len(text)} characters")
        if not text.isascii() and (text := _utf8(text, replace)) is None:
            return Unreadable(self.origin, where, "lone_surrogate", "half of a surrogate pair is no character")
        try:
            return self._row(text, record)
        except (TypeError, ValueError, RecursionError) as error:
            if replace and (mended := mended_record(record)) is not None:
                return self.row(mended, where)
            wrong = next((name for name in record if not self._usable(record, name)), "")
            return Unreadable(self.origin, where, "unusable_field", f"{wrong[:100]!r}: {error}"[:200])

    def _row(self, text: str, record: Mapping[str, Any]) -> Row:
        """Return the document. Raises TypeError, ValueError or RecursionError if a field cannot be stored."""
        origin = record.get(self.source) if self.source else None
        url, lang = (record.get(name) if name else None for name in (self.url, self.lang))
        row = Row(
            text,
            str(origin) if origin is not None else self.origin,
            url if isinstance(url, str) else None,
            lang if isinstance(lang, str) else None,
            meta_json(self.carried(record)),
        )
        for value in (row.source, row.url, row.lang):
            if value is not None and not value.isascii():
                value.encode()
        return row

    def _usable(self, record: Mapping[str, Any], name: str) -> bool:
        try:
            self._row("", {name: record[name]})
        except (TypeError, ValueError, RecursionError):
            return False
        return True

    def carried(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record's other fields that `meta` selects."""
        return {name: value for name, value in record.items() if self.carries(name)}

    def carries(self, name: str) -> bool:
        if name in (self.text, self.url, self.lang, self.source):
            return False
        return self.meta if isinstance(self.meta, bool) else name in self.meta

    def wanted(self, names: list[str]) -> list[str]:
        """Return the columns that the fields refer to."""
        return [name for name in names if name in (self.text, self.url, self.lang, self.source) or self.carries(name)]

    def check(self, columns: list[str], where: str) -> None:
        """Raise MissingColumn if a file lacks the column of the text or the source."""
        for parameter, name in (("text", self.text), ("source", self.source)):
            if name is not None and name not in columns:
                hint = nearest(name, columns)
                others = f" (available: {', '.join(sorted(columns))})" if hint.startswith("did") else ""
                what = f"{where} has no column {name!r}: {hint}{others}"
                error = MissingColumn(f"{what}. Set it with `{parameter}: COLUMN`")
                error.what, error.parameter = what, parameter
                raise error


def mended_record(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the record with lone surrogates replaced in all strings; None if it is nested too deeply."""
    try:
        return _replaced(record)
    except RecursionError:
        return None


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return _utf8(value, replace=True)
    if isinstance(value, Mapping):
        return {_replaced(key): _replaced(inner) for key, inner in value.items()}
    return [_replaced(inner) for inner in value] if isinstance(value, list) else value


def _utf8(text: str, replace: bool) -> str | None:
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") if replace else None
