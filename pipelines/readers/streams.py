"""Bytes of files that may be compressed, cut short or in another encoding, in bounded pieces; and their lines."""

from __future__ import annotations

import bz2
import codecs
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from windtunnel.pipelines.remote.files import File

CHUNK_BYTES = 1 << 20
_PIECE_BYTES = 1 << 10  # for a decompressor without a limit on output: 1 kB of zst gives at most about 32 MB
# a stream that gives more than both is no text: gzip reaches 1032, text rarely 20
_SWELL_BYTES = 256 << 20
_SWELL_RATIO = 500
_RESCUE_BYTES = 1 << 8
_MARKS = [  # UTF-32's little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
]


class BrokenStream(Exception):
    """The rest of a file cannot be read: a reason code and a detail. What came before it is good."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(f"{error}: {detail}")
        self.error, self.detail = error, detail


class Line(NamedTuple):
    """A line without its end; `data` is None when it was longer than the limit. `start` is its offset in bytes."""

    number: int
    start: int
    data: bytes | None


def chunks(path: File, start: int = 0) -> Iterator[bytes]:
    """Yield a file's bytes from offset `start`, decompressed if their first bytes say so (not the file's name).

    Raises BrokenStream after the readable prefix, with reason broken_gzip, broken_zst, broken_bz2, broken_xz,
    read_error or too_large (a decompression bomb).
    """
    with path.open("rb") as handle:
        kind = compression(handle.read(6))
        handle.seek(start)
        pieces = iter(lambda: _read(handle, CHUNK_BYTES), b"")
        yield from pieces if kind is None else _decompressed(pieces, kind)


def compression(head: bytes) -> str | None:
    """Return gzip, zst, bz2 or xz by a file's first bytes, None for anything else."""
    return next((kind for kind, (magic, _) in _COMPRESSIONS.items() if head.startswith(magic)), None)


def utf8_chunks(pieces: Iterable[bytes], encoding: str = "utf-8") -> Iterator[bytes]:
    """Yield bytes of UTF-8 without byte order mark, whatever the encoding was.

    A byte order mark decides over `encoding`. UTF-8 passes through unchecked; other encodings raise BrokenStream with
    reason invalid_encoding at the first bytes that are none of theirs.
    """
    stream = iter(pieces)
    head = b""
    while len(head) < 4 and (piece := next(stream, None)) is not None:
        head += piece
    for mark, name in _MARKS:
        if head.startswith(mark):
            head, encoding = head[len(mark) :], name
            break
    if codecs.lookup(encoding).name == "utf-8":
        yield head
        yield from stream
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        yield decoder.decode(head).encode()
        for piece in stream:
            yield decoder.decode(piece).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise BrokenStream("invalid_encoding", f"not {encoding}: {error}"[:200]) from error


def lines(pieces: Iterable[bytes], limit: int, start: int = 0) -> Iterator[Line]:
    """Yield the lines of a stream; a line of more than `limit` bytes is skipped in bounded memory and has no data."""
    number, offset = 0, start
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        *ended, rest = piece.split(b"\n")
        for end in ended:
            number += 1
            size += len(end)
            whole = None if size > limit else b"".join([*held, end]) if held else end
            yield Line(number, offset, whole.removesuffix(b"\r") if whole is not None else None)
            offset += size + 1
            held, size = [], 0
        size += len(rest)
        if size > limit:
            held = []
        elif rest:
            held.append(rest)
    if size:
        yield Line(number + 1, offset, None if size > limit else b"".join(held).removesuffix(b"\r"))


class LineCount:
    """Passes bytes on and counts the lines that begin at offsets in [start, end), apart from whatever splits them.

    The bytes begin at `start`, or one byte before it where that is not 0. `end` None means all.
    """

    def __init__(self, pieces: Iterable[bytes], start: int = 0, end: int | None = None) -> None:
        self._start, self._end, self._at = start, end, max(0, start - 1)
        self._line_ends, self._last = 0, b"\n"
        self._counted = self._count(pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self._counted

    def total(self) -> int:
        """Return the number of lines, also of those that were not asked for; raises BrokenStream as the bytes do."""
        while (self._end is None or self._at < self._end) and next(self._counted, None) is not None:
            pass
        return self._line_ends + (self._last != b"\n" if self._end is None else self._start == 0)

    def _count(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            wanted = len(piece) if self._end is None else max(0, self._end - 1 - self._at)
            self._line_ends += piece.count(b"\n", 0, wanted)
            self._at, self._last = self._at + len(piece), piece[-1:] or self._last
            yield piece


def _read(handle: Any, size: int) -> bytes:
    try:
        return handle.read(size)
    except OSError as error:
        raise BrokenStream("read_error", str(error)) from error


def _decompressed(pieces: Iterator[bytes], kind: str) -> Iterator[bytes]:
    """Yield decompressed bytes, member after member; the end of input within a member is an error, as is a bomb."""
    make = _COMPRESSIONS[kind][1]
    member: _Member | None = None
    used = given = 0
    for piece in pieces:
        used += len(piece)
        rest = piece
        while rest:
            if member is None and not rest.strip(b"\x00"):  # padding behind the last member, as tape tools leave it
                break
            member = member or make()
            try:
                for data in member.feed(rest):
                    given += len(data)
                    if given > _SWELL_BYTES and given > _SWELL_RATIO * used:
                        raise BrokenStream(
                            "too_large", f"{used} bytes swell to more than {given}: it looks like a bomb"
                        )
                    yield data
            except _Damage as damage:
                yield damage.rescued
                raise BrokenStream(f"broken_{kind}", str(damage)) from damage
            except (OSError, lzma.LZMAError, EOFError, ValueError) as error:
                raise BrokenStream(f"broken_{kind}", str(error)) from error
            rest = member.unused if member.ended else b""
            member = None if member.ended else member
    if member is not None:
        raise BrokenStream(f"broken_{kind}", "the file ends in the middle of its data")


class _Member(Protocol):
    """One member of a compressed file; `unused` is what follows it in the last piece, once it has ended."""

    @property
    def ended(self) -> bool: ...

    @property
    def unused(self) -> bytes: ...

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield what a piece gives, at most about CHUNK_BYTES at once."""
        ...


class _Gzip:
    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    @property
    def ended(self) -> bool:
        return self._member.eof

    @property
    def unused(self) -> bytes:
        return self._member.unused_data

    def feed(self, piece: bytes) -> Iterator[bytes]:
        while piece and not self._member.eof:
            before = self._member.copy()
            try:
                data = self._member.decompress(piece, CHUNK_BYTES)
            except zlib.error as error:
                raise _Damage(_rescued(before, piece), str(error)) from error
            yield data
            piece = self._member.unconsumed_tail


class _Damage(Exception):
    """Damage within a piece, and what the piece gave before it."""

    def __init__(self, rescued: bytes, why: str) -> None:
        super().__init__(why)
        self.rescued = rescued


def _rescued(member: Any, piece: bytes) -> bytes:
    """Return what a piece gives up to its damage: zlib keeps nothing of a call that fails, so the calls are small."""
    out = []
    try:
        while piece:
            out.append(member.decompress(piece, _RESCUE_BYTES))
            piece = member.unconsumed_tail
    except zlib.error:
        pass
    return b"".join(out)


class _Zst:
    def __init__(self) -> None:
        import zstandard

        self._member, self._error = zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError
        self.ended, self.unused = False, b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        for start in range(0, len(piece), _PIECE_BYTES):
            try:
                yield self._member.decompress(piece[start : start + _PIECE_BYTES])
            except self._error as error:
                raise ValueError(str(error)) from error
            if self._member.eof:
                self.ended, self.unused = True, self._member.unused_data + piece[start + _PIECE_BYTES :]
                return


class _Limited:
    """bz2 and xz, which give no more than they are asked for."""

    def __init__(self, member: Any) -> None:
        self._member = member

    @property
    def ended(self) -> bool:
        return self._member.eof

    @property
    def unused(self) -> bytes:
        return self._member.unused_data

    def feed(self, piece: bytes) -> Iterator[bytes]:
        yield self._member.decompress(piece, CHUNK_BYTES)
        while not (self._member.eof or self._member.needs_input):
            yield self._member.decompress(b"", CHUNK_BYTES)


_COMPRESSIONS: dict[str, tuple[bytes, Callable[[], _Member]]] = {
    "gzip": (b"\x1f\x8b", _Gzip),
    "zst": (b"\x28\xb5\x2f\xfd", _Zst),
    "bz2": (b"BZh", lambda: _Limited(bz2.BZ2Decompressor())),
    "xz": (b"\xfd7zXZ\x00", lambda: _Limited(lzma.LZMADecompressor())),
}
