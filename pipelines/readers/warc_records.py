"""Splits plain or gzip WARC files into records, and resumes at the next record after a damaged one.

fastwarc parses each record but does not iterate the file, because after a wrong Content-Length it stops or skips the
rest of the file silently.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from windtunnel.pipelines.remote.files import File, RemoteFile

CHUNK_BYTES = 1 << 18
_HEADER_BYTES = 1 << 16  # maximum size of the header block of a record
_START = b"WARC/"
_BLANK = re.compile(rb"[\r\n]*")
_NEXT = re.compile(rb"\n\r?\nWARC/\d\.\d\r?\n")
_HEADER_END = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,15})[ \t]*\r?$", re.I | re.M)
_GZIP = b"\x1f\x8b\x08"
_SKIP_FACTOR = 64  # search range for the next record in a gzip member, in multiples of the record limit
_BOMB_RATIO = 64  # beyond it, search only while the compression ratio is lower; text rarely exceeds 20


class Record(NamedTuple):
    """The bytes of a record with a correct Content-Length; `offset` is the start of the record or its gzip member."""

    offset: int
    data: bytes


class Broken(NamedTuple):
    """A range without a record, with a reason code and a detail.

    Codes: not_a_record, truncated_record, too_large, broken_gzip, rest_unread (the rest of a gzip member was skipped
    because of its compression ratio).
    """

    offset: int
    error: str
    detail: str


def records(path: File, limit: int) -> Iterator[Record | Broken]:
    """Yield the records of a WARC file in order, each with at most `limit` bytes of content.

    Memory is a few times `limit`, whatever the file claims. A record with a wrong length ends where the next record
    begins, or at the end of its gzip member if the checksum is valid. A truncated file ends with truncated_record.
    Reading continues after a record that is too large.
    """
    with path.open("rb") as handle:
        raw = _RemoteRaw(handle, path.size) if isinstance(path, RemoteFile) else _Raw(handle.fileno())
        if raw.read(0, 3) == _GZIP:
            yield from _gzip_records(raw, limit)
        else:
            yield from _framed(_Window(raw.pieces(), raw=raw), limit, None)


class _Raw:
    """Random access to the bytes of a file; a memory map would crash if the file were truncated concurrently."""

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
            if (offset := piece.find(pattern)) >= 0:
                return at + offset
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

    `end` is its end offset, `error` the reason if it ended early, `used` the number of compressed bytes consumed.
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
    """A stream of bytes with look-ahead on demand."""

    def __init__(self, pieces: Iterator[bytes], member: _Member | None = None, raw: _Raw | None = None) -> None:
        self._pieces, self._member, self._raw = pieces, member, raw
        self.data = bytearray()
        self.ended = False
        self.given_up = False  # the rest is skipped
        self.dropped = 0

    @property
    def sealed(self) -> bool:
        """Whether the stream is a gzip member that ended with a valid checksum."""
        return self.ended and self._member is not None and not self._member.error

    def swells(self, skipped: int, limit: int) -> bool:
        """Return whether the stream looks like a decompression bomb; never true for a plain file."""
        if self._member is None or skipped <= limit * _SKIP_FACTOR:
            return False
        return self.dropped > _BOMB_RATIO * self._member.used

    def record_follows(self, at: int) -> bool:
        """Return whether a record begins or the file ends `at` bytes from here; False if that is not known."""
        if self._raw is None:
            return False
        behind = self._raw.read(self.dropped + at, 32)
        follows = behind.lstrip(b"\r\n").startswith(_START)
        return follows or (
            len(behind) < 32 and not behind.strip(b"\r\n") and bool(self._raw.read(self.dropped + at - 1, 1))
        )

    def fill(self, size: int) -> bool:
        """Buffer at least `size` bytes, or all remaining ones; return whether there are that many."""
        while len(self.data) < size and not self.ended:
            piece = next(self._pieces, None)
            if piece is None:
                self.ended = True
            else:
                self.data += piece
        return len(self.data) >= size

    def drop(self, size: int) -> None:
        """Skip `size` bytes, which need not be buffered."""
        while size > len(self.data) and not self.ended:
            size -= len(self.data)
            self.dropped += len(self.data)
            self.data.clear()
            self.fill(1)
        size = min(size, len(self.data))
        del self.data[:size]
        self.dropped += size


def _gzip_records(raw: _Raw, limit: int) -> Iterator[Record | Broken]:
    """Yield the records of gzip members; after a broken or skipped member, continue at the next with a record."""
    at = 0
    while at >= 0 and (head := raw.read(at, 3)):
        if head != _GZIP:
            following = _next_member(raw, at)
            gap = raw.read(at, CHUNK_BYTES if following < 0 else min(CHUNK_BYTES, following - at))
            if gap.strip(b"\x00"):  # ignore zero padding
                yield Broken(at, "not_a_record", "bytes between gzip members that are none of theirs")
            at = following
            continue
        member = _Member(raw, at)
        following = None
        window = _Window(member.pieces(), member)
        for entry in _framed(window, limit, at):
            if isinstance(entry, Broken) and member.error:
                break  # reported below
            yield entry
            if isinstance(entry, Broken) and entry.error == "too_large" and (next_ := _next_member(raw, at + 1)) >= 0:
                following = next_  # do not decompress the rest
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
    """Return the offset of the next gzip member that begins with a WARC record, or -1."""
    while (at := raw.find(_GZIP, at)) >= 0:
        try:
            if zlib.decompressobj(wbits=31).decompress(raw.read(at, 512), len(_START)) == _START:
                return at
        except zlib.error:
            pass
        at += 1
    return -1


def _framed(window: _Window, limit: int, offset: int | None) -> Iterator[Record | Broken]:
    """Yield the records of a window with `offset`, or with their own offsets if it is None."""
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
    """Return the end of the record at the beginning of the window, or a reason code if it is unknown."""
    length = _LENGTH.search(window.data, 0, body)
    if length and int(length[1]) > limit and _true_end(window, body):
        return "too_large"  # even if it contains records, such as an archived WARC file
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
    """Return the end by the record's own length, if another record or the end of the file follows there."""
    length = _LENGTH.search(window.data, 0, body)
    end = body + int(length[1]) if length else 0
    return end if end and window.record_follows(end) else None


def _skip(window: _Window, limit: int) -> int:
    """Skip to the next record, within the limits of `swells`; return the number of bytes skipped."""
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
        window.drop(len(window.data) - 32)  # the pattern may span pieces
        start = 0
    window.drop(len(window.data))
    window.ended = window.given_up = True
    return window.dropped - before


def _with_true_length(data: bytes, body: int) -> bytes:
    length = _LENGTH.search(data, 0, body)
    size = len(data) - body
    if length and int(length[1]) == size:
        return data
    lines = [line for line in data[:body].splitlines() if line and not line.lower().startswith(b"content-length:")]
    return b"\r\n".join([*lines, b"Content-Length: %d" % size]) + b"\r\n\r\n" + data[body:]
