"""WARC files of crawls, plain or gzip, as Common Crawl publishes them; also WET files, whose text is taken as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from windtunnel.pipelines.readers.batches import Note, Remark, Row, Unreadable, batches
from windtunnel.pipelines.readers.http_bodies import decoded
from windtunnel.pipelines.readers.listing import LeftOut, Listing, listed
from windtunnel.pipelines.readers.pages import Failure, PageExtractor, RawPage
from windtunnel.pipelines.readers.paths import Fingerprint
from windtunnel.pipelines.readers.warc_records import Broken, Record, records
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.samples.pages import page_set, warc_file
from windtunnel.pipelines.samples.sample_set import describe
from windtunnel.pipelines.sources._page_source import PROSE, PageSource
from windtunnel.pipelines.sources._source import Example, for_each
from windtunnel.schemas.errors import InputError

_HEADER_END = re.compile(rb"\n\r?\n")
_TYPE = re.compile(rb"^warc-type:[ \t]*([^\r\n]*)", re.I | re.M)
_NO_PAGES = ("warcinfo", "request", "metadata", "revisit", "continuation")  # the standard's other types
_SAMPLE = "sample:"
_HTML = ("text/html", "application/xhtml+xml")
COLUMNS = ("source", "url", "lang", "title", "date", "html_lang", "encoding", "crawled", "identified_language")
UNENCODED = "http_encodings_not_there"  # the note of pages that were stored decoded, with the headers as they were sent
_HEADERS_BYTES = 1 << 20  # beside the page itself: WARC and HTTP headers


def _record(page: str, status: str = "200 OK") -> str:
    body = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\n\r\n{page}"
    head = (
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://example.org/\r\nContent-Type: application/http\r\n"
    )
    return f"{head}Content-Length: {len(body.encode())}\r\n\r\n{body}\r\n\r\n"


class Warc(PageSource):
    """One document a page: `response` and `resource` records of HTML, `conversion` records of text.

    max_document_bytes is the limit for a page's bytes after all decompression, so a zip bomb is counted, not unpacked.
    `sample:NAME` as a path is a WARC file made of that page set (python_docs, sqlite_docs, help_zh).
    A body that does not have the encoding that its header declares is read as it is, and noted in the manifest.
    Records of the standard's other types (requests, metadata) are no pages; records of no known type, responses that
    are no HTML and those that are no success are counted.
    """

    version: ClassVar[int] = 3
    suffixes: ClassVar[tuple[str, ...]] = (".warc", ".wet")
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"a.warc": _record(f"<article><p>{PROSE}</p></article>")}, (PROSE,)),
        Example({"a.warc": _record("<p>none</p>", "404 Not Found")}, (), {"http_status": 1}),
    )
    max_document_bytes: int = Field(default=16 << 20, gt=0)

    def parts(self) -> list[dict[str, Any]]:
        parts = [{"sample": name, "packages": page_set(name).fingerprint()} for name in self._samples()]
        return parts + for_each(self._listing().files, self._checked)

    def left_out(self) -> list[LeftOut]:
        return self._listing().left_out

    def _listing(self) -> Listing:
        named = [path for path in self._paths() if not path.startswith(_SAMPLE)]
        return Listing([], []) if self._samples() and not named else listed(named, self.suffixes)

    def _samples(self) -> list[str]:
        return [path.removeprefix(_SAMPLE) for path in self._paths() if path.startswith(_SAMPLE)]

    def _paths(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else list(self.path)

    def _checked(self, path: File) -> dict[str, Any]:
        with path.open("rb") as handle:
            head = handle.read(5)
        if head and not head.startswith((b"\x1f\x8b\x08", b"WARC/", b"\r\n", b"\n")):
            raise InputError(f"{path} is no WARC file: it begins with {head!r}, not with WARC/ or gzip")
        return self.part(path)

    def read(self, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Remark]:
        path = warc_file(part["sample"]) if "sample" in part else Fingerprint.check(part)
        origin = self.name or part.get("sample") or self.origin(path)
        with self.extractor_process() as process:
            yield from batches(self._rows(path, origin, process))

    def origins(self) -> list[dict[str, Any]]:
        return [describe(name) for name in self._samples()]

    def _rows(self, path: File, origin: str, process: PageExtractor) -> Iterator[Row | Remark]:
        for raw, page in process.extract(self._pages(path, origin)):
            row, url, meta = raw.context
            if row is not None:
                yield row
            if meta is None:
                continue
            if isinstance(page, Failure):
                yield Unreadable(origin, meta["where"], page.error, page.detail)
            else:
                yield self.row(page, origin, meta["where"], url, {"crawled": meta["crawled"]})

    def _pages(self, path: File, origin: str) -> Iterator[RawPage]:
        """Yield the pages to extract; what needs no extraction comes along as a row in an empty page, in order."""
        for entry in records(path, self.max_document_bytes + _HEADERS_BYTES):
            where = f"{path.name}@{entry.offset}"
            if isinstance(entry, Broken):
                yield _ready(Unreadable(origin, where, entry.error, entry.detail))
                continue
            kind = _type_of(entry.data)
            take = self._kinds.get(kind)
            if take is None:
                if kind not in _NO_PAGES:
                    detail = f"WARC-Type: {kind[:100]}" if kind else "no WARC-Type"
                    yield _ready(Unreadable(origin, where, "unknown_record_type", detail))
                continue
            try:
                yield take(self, entry, origin, where)
            except (OSError, ValueError) as error:  # what fastwarc raises on a record it cannot parse or decode
                yield _ready(Unreadable(origin, where, "broken_record", str(error)[:200]))

    def _response(self, entry: Record, origin: str, where: str) -> RawPage:
        from fastwarc.warc import WarcRecord

        record = WarcRecord.from_bytes(entry.data)
        record.parse_http(auto_decode="none", quirks_mode=True)
        status = record.http_headers.status_code if record.http_headers else None
        content = (record.http_content_type or record.headers.get("Content-Type") or "").partition(";")[0].strip()
        if status is not None and not 200 <= status < 300:
            return _ready(Unreadable(origin, where, "http_status", str(status)))
        if content.lower() not in _HTML:
            return _ready(Unreadable(origin, where, "not_html", content[:100] or "no content type"))
        headers = record.http_headers or {}
        transfer, coding = (headers.get(name) or "" for name in ("Transfer-Encoding", "Content-Encoding"))
        html, raw = decoded(record.reader.read(), transfer, coding, self.max_document_bytes)
        if len(html) > self.max_document_bytes:
            return _ready(
                Unreadable(origin, where, "too_large", f"a page of more than {self.max_document_bytes} bytes")
            )
        url = record.headers.get("WARC-Target-URI")
        return RawPage(html, record.http_charset, (Note(UNENCODED, raw) if raw else None, url, _meta(record, where)))

    def _conversion(self, entry: Record, origin: str, where: str) -> RawPage:
        from fastwarc.warc import WarcRecord

        record = WarcRecord.from_bytes(entry.data)
        try:
            text = record.reader.read().decode("utf-8").strip()
        except UnicodeDecodeError as error:
            return _ready(Unreadable(origin, where, "invalid_utf8", str(error)[:200]))
        if not text:
            return _ready(Unreadable(origin, where, "empty_text"))
        lang = (record.headers.get("WARC-Identified-Content-Language") or "").partition(",")[0]
        meta = {"crawled": _meta(record, where)["crawled"], "identified_language": lang or None}
        return _ready(Row(text, origin, record.headers.get("WARC-Target-URI"), meta=meta))

    _kinds: ClassVar[dict[str, Any]] = {"response": _response, "resource": _response, "conversion": _conversion}


def _type_of(record: bytes) -> str:
    """Return the record's type in small letters, wherever in its header it stands; empty where it has none."""
    end = _HEADER_END.search(record)
    kind = _TYPE.search(record, 0, end.end() if end else len(record))
    return kind[1].strip().lower().decode("utf-8", "replace") if kind else ""


def _ready(row: Row | Remark) -> RawPage:
    return RawPage(b"", None, (row, None, None))


def _meta(record: Any, where: str) -> dict[str, Any]:
    return {"where": where, "crawled": record.headers.get("WARC-Date")}
