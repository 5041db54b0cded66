"""Frames WARC files into records, plain or gzip, and finds the next record after one that lies or is broken.

fastwarc parses each record; it is not left to walk the file, since after a wrong Content-Length it stops, or swallows
the rest of the file without a word.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from windtunnel.pipelines.remote.files import File, RemoteFile

CHUNK_BYTES = 1 << 18
_HEADER_BYTES = 1 << 16  # of one record's header block
_START = b"WARC/"
_BLANK = re.compile(rb"[\r\n]*")
_NEXT = re.compile(rb"\n\r?\nWARC/\d\.\d\r?\n")
_HEADER_END = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,15})[ \t]*\r?$", re.I | re.M)
_GZIP = b"\x1f\x8b\x08"
_SKIP_FACTOR = 64  # how far behind a broken record the next one is looked for in a gzip member, in record limits
_BOMB_RATIO = 64  # and in a longer stretch only while a byte of the member gives fewer: text rarely gives 20


class Record(NamedTuple):
    """A record's bytes with a Content-Length that is true; `offset` is where it, or its gzip member, begins."""

    offset: int
    data: bytes


class Broken(NamedTuple):
    """A stretch without a record: not_a_record, truncated_record, too_large, broken_gzip, rest_unread; and a detail.

    rest_unread: a gzip member swells so that its remaining bytes were given up, with whatever records they hold.
    """

    offset: int
    error: str
    detail: str


def records(path: File, limit: int) -> Iterator[Record | Broken]:
    """Yield the records of a WARC file in order, each with at most `limit` bytes of content.

    Memory is a few times `limit`, whatever the file claims. A record whose length is a lie ends where the next one
    begins, or where its gzip member ends with a right checksum; a file that ends early has a truncated_record. Behind
    a record that is too large the reading goes on.
    """
    with path.open("rb") as handle:
        raw = _RemoteRaw(handle, path.size) if isinstance(path, RemoteFile) else _Raw(handle.fileno())
        if raw.read(0, 3) == _GZIP:
            yield from _gzip_records(raw, limit)
        else:
            yield from _framed(_Window(raw.pieces(), raw=raw), limit, None)


class _Raw:
    """The file's own bytes, by offset; a map of the file would end the process if the file were cut meanwhile."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, at: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, at)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def pieces(self) -> Iterator[bytes]:
        at = 0
        while piece := self.read(at, CHUNK_BYTES):
            yield piece
            at += len(piece)

    def find(self, pattern: bytes, at: int) -> int:
        while piece := self.read(at, CHUNK_BYTES):
            if (found := piece.find(pattern)) >= 0:
                return at + found
            at += max(1, len(piece) - len(pattern) + 1)
        return -1


class _RemoteRaw(_Raw):
    """The same of a remote file, by offset in an open handle."""

    def __init__(self, handle: Any, size: int) -> None:
        self._handle, self._size = handle, size

    def read(self, at: int, size: int) -> bytes:
        self._handle.seek(at)
        return self._handle.read(size)

    def size(self) -> int:
        return self._size


class _Member:
    """One gzip member, decompressed piece by piece.

    `end` is where it ends, `error` why it ended too early, `used` how many of its bytes gave the pieces so far.
    """

    def __init__(self, raw: _Raw, start: int) -> None:
        self._raw, self.start, self.end, self.error = raw, start, start, ""
        self.used = 0

    def pieces(self) -> Iterator[bytes]:
        engine = zlib.decompressobj(wbits=31)
        waiting = b""
        while not engine.eof:
            piece = waiting or self._raw.read(self.end, CHUNK_BYTES)
            if not piece:
                self.error = "the file ends in the middle of a gzip member"
                return
            self.end += 0 if waiting else len(piece)
            try:
                data = engine.decompress(piece, CHUNK_BYTES)
            except zlib.error as error:
                self.error = str(error)
                return
            waiting = engine.unused_data if engine.eof else engine.unconsumed_tail
            self.used = self.end - self.start - len(waiting)
            if data:
                yield data
        self.end -= len(waiting)


class _Window:
    """A stream of bytes with as much look-ahead as is asked for, and no more in memory."""

    def __init__(self, pieces: Iterator[bytes], member: _Member | None = None, raw: _Raw | None = None) -> None:
        self._pieces, self._member, self._raw = pieces, member, raw
        self.data = bytearray()
        self.ended = False
        self.given_up = False  # there is more, and it is not looked at
        self.dropped = 0

    @property
    def sealed(self) -> bool:
        """The stream ended, and a checksum says that it ended where it should: a gzip member's."""
        return self.ended and self._member is not None and not self._member.error

    def swells(self, skipped: int, limit: int) -> bool:
        """Return whether skipping on could take for ever: never in a plain file, which has no more than its bytes."""
        if self._member is None or skipped <= limit * _SKIP_FACTOR:
            return False
        return self.dropped > _BOMB_RATIO * self._member.used

    def record_follows(self, at: int) -> bool:
        """Return whether a record begins or the file ends right at `at` bytes from here; false where that is unseen."""
        if self._raw is None:
            return False
        behind = self._raw.read(self.dropped + at, 32)
        follows = behind.lstrip(b"\r\n").startswith(_START)
        return follows or (
            len(behind) < 32 and not behind.strip(b"\r\n") and bool(self._raw.read(self.dropped + at - 1, 1))
        )

    def fill(self, size: int) -> bool:
        """Hold at least `size` bytes, or all that are left; return whether there are that many."""
        while len(self.data) < size and not self.ended:
            piece = next(self._pieces, None)
            if piece is None:
                self.ended = True
            else:
                self.data += piece
        return len(self.data) >= size

    def drop(self, size: int) -> None:
        """Go on `size` bytes further, which need not be held."""
        while size > len(self.data) and not self.ended:
            size -= len(self.data)
            self.dropped += len(self.data)
            self.data.clear()
            self.fill(1)
        size = min(size, len(self.data))
        del self.data[:size]
        self.dropped += size


def _gzip_records(raw: _Raw, limit: int) -> Iterator[Record | Broken]:
    """Yield the records of gzip members; after a broken or swollen member go on at the next that starts a record."""
    at = 0
    while at >= 0 and (head := raw.read(at, 3)):
        if head != _GZIP:
            following = _next_member(raw, at)
            gap = raw.read(at, CHUNK_BYTES if following < 0 else min(CHUNK_BYTES, following - at))
            if gap.strip(b"\x00"):  # zeros are padding
                yield Broken(at, "not_a_record", "bytes between gzip members that are none of theirs")
            at = following
            continue
        member = _Member(raw, at)
        following = None
        window = _Window(member.pieces(), member)
        for found in _framed(window, limit, at):
            if isinstance(found, Broken) and member.error:
                break  # said below
            yield found
            if isinstance(found, Broken) and found.error == "too_large" and (next_ := _next_member(raw, at + 1)) >= 0:
                following = next_  # the rest of a bomb is not even decompressed
                break
        if window.given_up and following is None:
            following = _next_member(raw, at + 1)
            unread = (raw.size() if following < 0 else following) - at - member.used
            yield Broken(at, "rest_unread", f"{unread} bytes of a gzip member that swells: it looks like a bomb")
        if member.error and following is None:
            yield Broken(at, "broken_gzip", member.error)
            following = _next_member(raw, at + 1)
        at = member.end if following is None else following


def _next_member(raw: _Raw, at: int) -> int:
    """Return where the next gzip member begins that holds a WARC record, -1 if there is none."""
    while (at := raw.find(_GZIP, at)) >= 0:
        try:
            if zlib.decompressobj(wbits=31).decompress(raw.read(at, 512), len(_START)) == _START:
                return at
        except zlib.error:
            pass
        at += 1
    return -1


def _framed(window: _Window, limit: int, offset: int | None) -> Iterator[Record | Broken]:
    """Yield the records of a window, with `offset`, or their own place in it where that is None."""
    while window.fill(1):
        if blank := _BLANK.match(window.data):
            window.drop(blank.end())
        if not window.fill(1):
            return
        here = window.dropped if offset is None else offset
        window.fill(_HEADER_BYTES)
        header = _HEADER_END.search(window.data, 0, _HEADER_BYTES)
        if not window.data.startswith(_START) or header is None:
            yield Broken(here, "not_a_record", f"{_skip(window, limit)} bytes without a record's header")
            continue
        body = header.end()
        end = _end(window, body, limit)
        if isinstance(end, int):
            yield Record(here, _with_true_length(bytes(window.data[:end]), body))
            window.drop(end)
            continue
        yield Broken(here, end, f"record of more than {limit} bytes" if end == "too_large" else "cut short")
        if far := _true_end(window, body):
            window.drop(far)
        else:
            _skip(window, limit)


def _end(window: _Window, body: int, limit: int) -> int | str:
    """Return where the record ends that begins the window, or the reason code for which that is not known."""
    length = _LENGTH.search(window.data, 0, body)
    if length and int(length[1]) > limit and _true_end(window, body):
        return "too_large"  # even where records lie inside it, such as a crawl that was crawled
    if length and (claimed := int(length[1])) <= limit:
        more = window.fill(body + claimed + 32)
        behind = bytes(window.data[body + claimed : body + claimed + 32])
        follows = behind.lstrip(b"\r\n").startswith(_START) or not (behind.strip(b"\r\n") or more)
        if len(window.data) >= body + claimed and (follows or behind.startswith(b"\r\n\r\n")):
            return body + claimed
    window.fill(body + limit + 64)
    if following := _NEXT.search(window.data, max(0, body - 3), body + limit + 64):
        return max(body, following.start() - (window.data[following.start() - 1] == 13))
    if len(window.data) > body + limit + 4:
        return "too_large"
    return max(body, len(window.data.rstrip(b"\r\n"))) if window.sealed else "truncated_record"


def _true_end(window: _Window, body: int) -> int | None:
    """Return where the record ends by its own word, if another one or the end of the file is seen there."""
    length = _LENGTH.search(window.data, 0, body)
    end = body + int(length[1]) if length else 0
    return end if end and window.record_follows(end) else None


def _skip(window: _Window, limit: int) -> int:
    """Drop the bytes up to the next record, at most so many that a bomb cannot keep us; return how many."""
    before = window.dropped
    start = 1
    while not window.swells(window.dropped - before, limit):
        window.fill(CHUNK_BYTES)
        if following := _NEXT.search(window.data, start):
            window.drop(following.start() + following[0].index(_START))
            return window.dropped - before
        if window.ended:
            window.drop(len(window.data))
            return window.dropped - before
        window.drop(len(window.data) - 32)  # the pattern may lie across pieces
        start = 0
    window.drop(len(window.data))
    window.ended = window.given_up = True
    return window.dropped - before


def _with_true_length(data: bytes, body: int) -> bytes:
    found = _LENGTH.search(data, 0, body)
    size = len(data) - body
    if found and int(found[1]) == size:
        return data
    lines = [line for line in data[:body].splitlines() if line and not line.lower().startswith(b"content-length:")]
    return b"\r\n".join([*lines, b"Content-Length: %d" % size]) + b"\r\n\r\n" + data[body:]
