"""Sample sets of real web pages: their text as documents, and the same pages as a WARC file."""

from __future__ import annotations

import gzip
import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from windtunnel.pipelines.readers.batches import Row, Unreadable
from windtunnel.pipelines.samples.cache import cache_directory
from windtunnel.pipelines.samples.packages import Package
from windtunnel.pipelines.samples.sample_set import SampleSet, sample_set
from windtunnel.schemas.artifact import writing
from windtunnel.schemas.errors import RecipeError

_DATE = "2024-01-01T00:00:00Z"  # packages say when they were made only of some files; a WARC wants a date for each


class PageSet(SampleSet):
    """Pages of one package. `folder` is where they lie in it, `address` the web address that the folder has."""

    package: ClassVar[Package]
    folder: ClassVar[str]
    address: ClassVar[str]
    language: ClassVar[str | None] = None
    left_out: ClassVar[tuple[str, ...]] = ()  # pages without text of their own: indexes, search

    def members(self) -> list[tuple[str, int]]:
        return [
            (name, size)
            for name, size in self.package.members()
            if name.startswith(self.folder) and name.endswith(".html") and not self._is_left_out(name)
        ]

    def rows(self, member: str) -> Iterator[Row | Unreadable]:
        from windtunnel.pipelines.readers.encoding import decode_page
        from windtunnel.pipelines.readers.extract import extract

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
    """Return the page set `name`; raises RecipeError for a sample set that has no pages."""
    wanted = sample_set(name)
    if not isinstance(wanted, PageSet):
        raise RecipeError(f"sample set {name!r} is text, not pages: take it by `samples: [{name}]`")
    return wanted


def warc_file(name: str) -> Path:
    """Return a gzip WARC file of a page set's pages, one response record each, making it in the cache where missing.

    The same package gives the same bytes: record ids come from the addresses, the date is fixed. Raises RecipeError
    for a sample set that has no pages.
    """
    wanted = page_set(name)
    version = wanted.fingerprint()[0]["version"].replace("/", "-")
    path = cache_directory() / "warc" / f"{name}-{version}.warc.gz"
    if not path.exists():
        with writing(path) as partial, partial.open("wb") as handle:
            for member, _ in wanted.members():
                page = record(wanted.url(member), wanted.package.read(member))
                handle.write(gzip.compress(page, compresslevel=6, mtime=0))
    return path


def record(url: str, html: bytes, content_type: str = "text/html") -> bytes:
    """Return one WARC response record; its id comes from the address, so that the same page gives the same bytes."""
    http = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(html)}\r\n\r\n".encode()
    urn = uuid.UUID(bytes=hashlib.sha256(url.encode()).digest()[:16], version=4).urn
    head = (
        f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Record-ID: <{urn}>\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: {_DATE}\r\nContent-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(http) + len(html)}\r\n\r\n"
    )
    return head.encode() + http + html + b"\r\n\r\n"
