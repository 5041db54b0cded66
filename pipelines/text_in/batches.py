"""Rows into bounded Arrow batches: the one place where a source's text becomes documents."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from schemas.records import DOCUMENT, document_id

BATCH_BYTES = 16 << 20  # of text, so that a rank's memory does not grow with its input
BATCH_ROWS = 16_384
_META = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


class Row(NamedTuple):
    """One text as a source found it; `meta` is whatever else the source knows, JSON-able."""

    text: str
    source: str
    url: str | None = None
    lang: str | None = None
    meta: Mapping[str, Any] | None = None


class Unreadable(NamedTuple):
    """One thing that could not be read: where (file and line, row or record), a reason code, and a detail."""

    source: str
    where: str
    error: str
    detail: str | None = None


def batches(
    rows: Iterable[Row | Unreadable], max_bytes: int = BATCH_BYTES, max_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch | Unreadable]:
    """Yield record batches of DOCUMENT with at most about `max_bytes` of text, and the unreadable as they come.

    Texts must be free of lone surrogates (UnicodeEncodeError otherwise). Equal text within one source gives equal ids.
    """
    held: list[Row] = []
    size = 0
    for row in rows:
        if isinstance(row, Unreadable):
            yield row
            continue
        held.append(row)
        size += len(row.text)
        if size >= max_bytes or len(held) >= max_rows:
            yield _batch(held)
            held, size = [], 0
    if held:
        yield _batch(held)


def _batch(rows: list[Row]) -> pa.RecordBatch:
    columns = [
        pa.array([document_id(row.source, row.text) for row in rows], pa.string()),
        pa.array([row.text for row in rows], pa.large_string()),
        pa.array([row.source for row in rows], pa.string()),
        pa.array([row.url for row in rows], pa.string()),
        pa.array([row.lang for row in rows], pa.string()),
        pa.array([meta_json(row.meta) for row in rows], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=DOCUMENT)


def meta_json(meta: Mapping[str, Any] | None) -> str | None:
    """Return a JSON object with sorted keys, or None when there is nothing to say; half a surrogate pair is U+FFFD."""
    if not meta:
        return None
    try:
        return orjson.dumps(meta, default=str, option=_META).decode()
    except TypeError:  # JSON can spell lone surrogates, UTF-8 cannot: without this one such field would end the run
        spelt = json.dumps(meta, default=str, ensure_ascii=False)
        return orjson.dumps(json.loads(without_surrogates(spelt)), option=_META).decode()


def without_surrogates(text: str) -> str:
    """Return the text with U+FFFD for every half of a surrogate pair."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
