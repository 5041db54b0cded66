"""Bytes of files that may be compressed, cut short or in another encoding, in bounded pieces; and their lines."""

from __future__ import annotations

import bz2
import codecs
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from windtunnel.pipelines.remote.files import File

CHUNK_BYTES = 1 << 20
_PIECE_BYTES = 1 << 12  # for decompressors without a limit on output: 4 kB give at most about 128 MB
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

    Raises BrokenStream after the readable prefix, with reason broken_gzip, broken_zst, broken_bz2, broken_xz or
    read_error.
    """
    with path.open("rb") as handle:
        kind = compression(handle.read(6))
        handle.seek(start)
        size = CHUNK_BYTES if kind in (None, "gzip") else _PIECE_BYTES
        pieces = iter(lambda: _read(handle, size), b"")
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


def _read(handle: Any, size: int) -> bytes:
    try:
        return handle.read(size)
    except OSError as error:
        raise BrokenStream("read_error", str(error)) from error


def _decompressed(pieces: Iterator[bytes], kind: str) -> Iterator[bytes]:
    """Yield decompressed bytes, member after member; the end of input within a member is an error."""
    make = _COMPRESSIONS[kind][1]
    member, waiting, empty = make(), b"", True
    while True:
        piece = waiting or next(pieces, b"")
        if not piece:
            if not empty:
                raise BrokenStream(f"broken_{kind}", "the file ends in the middle of its data")
            return
        if empty and not piece.strip(b"\x00"):  # padding behind the last member, as tape tools leave it
            waiting = b""
            continue
        empty = False
        try:
            data, waiting, ended = member(piece)
        except _Damage as damage:
            yield damage.rescued
            raise BrokenStream(f"broken_{kind}", str(damage)) from damage
        except (OSError, lzma.LZMAError, EOFError, ValueError) as error:
            raise BrokenStream(f"broken_{kind}", str(error)) from error
        if data:
            yield data
        if ended:
            member, empty = make(), True


# One step of decompression: bytes in; (bytes out, bytes not used yet, whether the member ended).
_Step = Callable[[bytes], tuple[bytes, bytes, bool]]


def _gzip() -> _Step:
    member = zlib.decompressobj(wbits=31)

    def step(piece: bytes) -> tuple[bytes, bytes, bool]:
        before = member.copy()
        try:
            data = member.decompress(piece, CHUNK_BYTES)
        except zlib.error as error:
            raise _Damage(_rescued(before, piece), str(error)) from error
        return data, member.unused_data if member.eof else member.unconsumed_tail, member.eof

    return step


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


def _zst() -> _Step:
    import zstandard

    member = zstandard.ZstdDecompressor().decompressobj()

    def step(piece: bytes) -> tuple[bytes, bytes, bool]:
        try:
            data = member.decompress(piece)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error
        return data, member.unused_data if member.eof else b"", member.eof

    return step


def _whole(make: Callable[[], Any]) -> Callable[[], _Step]:
    """Return steps for bz2 and lzma, which take a piece whole."""

    def start() -> _Step:
        member = make()

        def step(piece: bytes) -> tuple[bytes, bytes, bool]:
            data = member.decompress(piece)
            return data, member.unused_data if member.eof else b"", member.eof

        return step

    return start


_COMPRESSIONS: dict[str, tuple[bytes, Callable[[], _Step]]] = {
    "gzip": (b"\x1f\x8b", _gzip),
    "zst": (b"\x28\xb5\x2f\xfd", _zst),
    "bz2": (b"BZh", _whole(bz2.BZ2Decompressor)),
    "xz": (b"\xfd7zXZ\x00", _whole(lzma.LZMADecompressor)),
}
