"""Converts rows of sources into Arrow batches of documents with bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from windtunnel.schemas.records import DOCUMENT, document_id

BATCH_BYTES = 16 << 20  # of text, which bounds the memory of a task
BATCH_ROWS = 16_384


class Row(NamedTuple):
    """One text of a source; `meta` contains further fields, as a JSON-serialisable mapping or a JSON object."""

    text: str
    source: str
    url: str | None = None
    lang: str | None = None
    meta: Mapping[str, Any] | str | None = None


class Unreadable(NamedTuple):
    """An unreadable record: its place (file and line, row or record number), a reason code, and a detail.

    `rows` is the number of records that it stands for: those of a damaged row group share one entry.
    """

    source: str
    where: str
    error: str
    detail: str | None = None
    rows: int = 1


class Stated(NamedTuple):
    """How many records a part holds by what its files say of themselves: a footer, line ends, members of an archive.

    It is counted apart from the reading, which is held against it.
    """

    records: int


class Note(NamedTuple):
    """Something that was read in another way than the file declares, by the name under which a manifest counts it."""

    name: str
    count: int = 1


Remark = Unreadable | Stated | Note  # what a source yields beside documents


def batches(
    rows: Iterable[Row | Remark], max_bytes: int = BATCH_BYTES, max_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch | Remark]:
    """Yield record batches of DOCUMENT with at most about `max_bytes` of text, and remarks in between as they come.

    Raises UnicodeEncodeError for text with lone surrogates. Equal texts of one source have equal ids.
    """
    held: list[Row] = []
    size = 0
    for row in rows:
        if not isinstance(row, Row):
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
        pa.array([row.meta if isinstance(row.meta, str) else meta_json(row.meta) for row in rows], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=DOCUMENT)


def meta_json(meta: Mapping[str, Any] | None) -> str | None:
    """Return a JSON object with sorted keys, or None for an empty mapping.

    Raises TypeError for a lone surrogate, an integer beyond 64 bits, or nesting deeper than 254.
    """
    if not meta:
        return None
    return orjson.dumps(meta, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
