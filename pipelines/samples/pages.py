"""Sample sets of web pages: their extracted text as documents, and the pages as a WARC file."""

from __future__ import annotations

import gzip
import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from windtunnel.pipelines.readers.batches import Row, Unreadable
from windtunnel.pipelines.readers.encoding import decode_page
from windtunnel.pipelines.readers.extract import extract
from windtunnel.pipelines.samples.cache import cache_directory
from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.sample_set import SampleSet, sample_set
from windtunnel.schemas.artifact import writing
from windtunnel.schemas.errors import RecipeError

_DATE = "2024-01-01T00:00:00Z"  # WARC requires a date per record, which packages do not provide


class PageSet(SampleSet):
    """The pages in directory `folder` of one package, whose web address is `address`."""

    package: ClassVar[Package]
    folder: ClassVar[str]
    address: ClassVar[str]
    language: ClassVar[str | None] = None
    left_out: ClassVar[tuple[str, ...]] = ()  # pages without original text, such as indexes

    def members(self) -> list[tuple[str, int]]:
        return [
            (name, size)
            for name, size in self.package.members()
            if name.startswith(self.folder) and name.endswith(".html") and not self._is_left_out(name)
        ]

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        text, encoding = decode_page(self.package.read(member))
        page = extract(text)._replace(encoding=encoding)
        if page.text:
            yield Row(page.text, self.name, self.url(member), self.language, page.meta())
        else:
            yield Unreadable(self.name, member, "no_main_text", page.title)

    def url(self, member: str) -> str:
        return self.address + member.removeprefix(self.folder)

    def _is_left_out(self, name: str) -> bool:
        relative = name.removeprefix(self.folder)
        return any(relative == word or (word.endswith("/") and relative.startswith(word)) for word in self.left_out)


def page_set(name: str) -> PageSet:
    """Return the page set `name`. Raises RecipeError for a sample set without pages."""
    pages = sample_set(name)
    if not isinstance(pages, PageSet):
        raise RecipeError(f"sample set {name!r} has texts, not pages: use it as `samples: [{name}]`")
    return pages


def warc_file(name: str) -> Path:
    """Return a cached gzip WARC file of a page set, one response record per page, created if missing.

    Equal packages give equal bytes: record ids are derived from the addresses, and the date is fixed. Raises
    RecipeError for a sample set without pages.
    """
    pages = page_set(name)
    version = pages.fingerprint()[0]["version"].replace("/", "-")
    path = cache_directory() / "warc" / f"{name}-{version}.warc.gz"
    if not path.exists():
        with writing(path) as partial, partial.open("wb") as handle:
            for member, _ in pages.members():
                page = record(pages.url(member), pages.package.read(member))
                handle.write(gzip.compress(page, compresslevel=6, mtime=0))
    return path


def record(url: str, html: bytes, content_type: str = "text/html") -> bytes:
    """Return one WARC response record with a deterministic id derived from the address."""
    http = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(html)}\r\n\r\n".encode()
    urn = uuid.UUID(bytes=hashlib.sha256(url.encode()).digest()[:16], version=4).urn
    head = (
        f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Record-ID: <{urn}>\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: {_DATE}\r\nContent-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(http) + len(html)}\r\n\r\n"
    )
    return head.encode() + http + html + b"\r\n\r\n"
