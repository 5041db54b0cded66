"""JSON that is not in lines: the elements of arrays and objects over several lines, each as if it were a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from windtunnel.pipelines.readers.streams import BrokenStream, Line

HEAD_BYTES = 1 << 16  # enough to tell lines from anything else
_OUTSIDE = re.compile(rb'["{}\[\],]')
_INSIDE = re.compile(rb'["\\]')


def in_lines(head: bytes) -> bool:
    """Return whether JSON that begins with `head` has one value a line, as far as its first line tells.

    An array holds records. The first line of an object over several lines can be gone on with; a damaged line cannot.
    """
    first, ended, _ = head.lstrip().partition(b"\n")
    if first.startswith(b"["):
        return False
    if not ended or not first.startswith(b"{"):
        return True
    try:
        json.loads(first)
    except json.JSONDecodeError as error:
        return error.pos < len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
    except (ValueError, RecursionError):
        pass
    return True


def values(pieces: Iterable[bytes], limit: int) -> Iterator[Line]:
    """Yield the elements of top-level arrays, and other values at the top, in bounded memory; numbers count them.

    One of more than `limit` bytes has no data. Raises BrokenStream (truncated_json) where an array does not end; an
    unfinished value is yielded as it is.
    """
    splitter = _Splitter(limit)
    for piece in pieces:
        yield from splitter.split(piece)
    yield from splitter.take(b"")
    if splitter.between:
        raise BrokenStream("truncated_json", "the file ends before its array does")


class _Splitter:
    """Finds where values begin and end: by brackets and commas outside of strings, whatever is between them."""

    def __init__(self, limit: int) -> None:
        self.depth = 0
        self._limit, self._in_array, self._quoted, self._skip = limit, False, False, 0
        self._held: list[bytes] = []
        self._size = self._number = self._start = self._offset = 0

    @property
    def between(self) -> bool:
        """Whether an array has begun and none of its values is open."""
        return self._in_array and self.depth == 1

    def split(self, piece: bytes) -> Iterator[Line]:
        """Yield the values that end in a piece."""
        begin, at = 0, self._skip
        self._skip = 0
        while found := (_INSIDE if self._quoted else _OUTSIDE).search(piece, at):
            at = found.end()
            sign = found[0]
            if self._quoted:
                at += sign == b"\\"
                self._quoted = sign == b"\\"
            elif sign == b'"':
                self._quoted = True
            elif (end := self._end(sign, found)) is not None:
                yield from self.take(piece[begin:end])
                begin = at
        self._skip = max(0, at - len(piece))
        self._hold(piece[begin:])
        self._offset += len(piece)

    def _end(self, sign: bytes, found: re.Match[bytes]) -> int | None:
        """Return where a value ends, if one does at a bracket or comma; the brackets of its array are none of it."""
        inside = self.between
        if sign == b",":
            return found.start() if inside or self.depth == 0 else None
        if sign in b"[{":
            self.depth += 1
            opens = self.depth == 1 and sign == b"["
            self._in_array = self._in_array or opens
            return found.start() if opens else None
        self.depth = max(0, self.depth - 1)
        if self.depth:
            return None
        self._in_array = False
        return found.start() if inside else found.end()

    def take(self, last: bytes) -> Iterator[Line]:
        """Yield what is held, with its last bytes, as a value, unless it is blank."""
        self._hold(last)
        data = b"".join(self._held).strip()
        if data or self._size > self._limit:
            self._number += 1
            yield Line(self._number, self._offset, None if self._size > self._limit else data)
        self._held, self._size = [], 0

    def _hold(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            self._held = []
        elif data:
            self._held.append(data)
