"""Bodies of HTTP responses in archives: decoded as their headers declare, or as they are where the headers are wrong.

Crawlers have stored bodies that they had already decoded with the headers of the transfer, Common Crawl until August
2018: https://commoncrawl.org/blog/august-2018-crawl-archive-now-available
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(;[^\r\n]{0,1000})?\r?\n")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # tabs, line ends and the escapes of ISO-2022-JP are text
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_TEXT_BYTES = 512


class Body(NamedTuple):
    """A body without its encodings; `raw` counts the declared encodings that it did not have."""

    data: bytes
    raw: int


def decoded(body: bytes, transfer: str, content: str, limit: int) -> Body:
    """Return a body by its Transfer-Encoding and Content-Encoding headers; at most one byte more than `limit`.

    A body that does not begin like a declared encoding is taken as it is, if it is text. Raises ValueError for one that
    does and is damaged or cut short.
    """
    raw = 0
    for name in [*reversed(_listed(transfer)), *reversed(_listed(content))]:
        begins, decode = _CODECS.get(name, (None, None))
        if begins is None or decode is None or not begins(body):
            raw += 1
        else:
            body = decode(body, limit)
    if raw and _is_binary(body):
        raise ValueError(f"the body is neither text nor {content[:40] or transfer[:40]}, as its header says")
    return Body(body, raw)


def _listed(header: str) -> list[str]:
    names = [name.strip().lower() for name in header.split(",")]
    return [name for name in names if name not in ("", "identity", "none")]


def _dechunked(body: bytes, limit: int) -> bytes:
    out, at = [], 0
    while size := _CHUNK.match(body, at):
        length = int(size[1], 16)
        if length == 0:
            return b"".join(out)
        chunk = body[size.end() : size.end() + length]
        if len(chunk) < length:
            break
        out.append(chunk)
        at = size.end() + length
        at += 2 if body.startswith(b"\r\n", at) else body.startswith(b"\n", at)
    raise ValueError("the body ends within its chunks, or a chunk has no length")


def _inflated(body: bytes, limit: int, bits: int = 47) -> bytes:
    member = zlib.decompressobj(wbits=bits)
    try:
        data = member.decompress(body, limit + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not member.eof and len(data) <= limit:
        raise ValueError("the compressed body is cut short")
    return data


def _deflated(body: bytes, limit: int) -> bytes:
    return _inflated(body, limit) if _begins_as_zlib(body) else _inflated(body, limit, -15)  # servers send both


def _brotli(body: bytes, limit: int) -> bytes:
    import brotli

    member = brotli.Decompressor()
    try:
        data = member.process(body, output_buffer_limit=limit + 1)
        while not (member.is_finished() or member.can_accept_more_data() or len(data) > limit):
            data += member.process(b"", output_buffer_limit=limit + 1)
    except brotli.error as error:
        raise ValueError(f"brotli: {error}") from error
    if not member.is_finished() and len(data) <= limit:
        raise ValueError("the compressed body is cut short")
    return data[: limit + 1]


def _begins_as_zlib(body: bytes) -> bool:
    return len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0


def _is_binary(body: bytes) -> bool:
    """Return whether a body begins unlike text: what has no magic number cannot be told in another way."""
    return not body.startswith(_UTF_16) and _CONTROL.search(body, 0, _TEXT_BYTES) is not None


def _begins_as_gzip(body: bytes) -> bool:
    return body.startswith(b"\x1f\x8b")


def _begins_as_chunks(body: bytes) -> bool:
    return _CHUNK.match(body) is not None


_CODECS: dict[str, tuple[Callable[[bytes], bool], Callable[[bytes, int], bytes]]] = {
    "chunked": (_begins_as_chunks, _dechunked),
    "gzip": (_begins_as_gzip, _inflated),
    "x-gzip": (_begins_as_gzip, _inflated),
    "deflate": (_is_binary, _deflated),
    "br": (_is_binary, _brotli),
}
