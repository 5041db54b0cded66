"""Line breaks and stripping of white space, with the semantics of str.splitlines and str.strip."""

from __future__ import annotations

from numba import njit

from windtunnel.pipelines.features.kernels.classes import BREAK, SPACE
from windtunnel.pipelines.features.kernels.utf8 import before, class_at


@njit
def strip(text, a, b, table):
    """Return the range of bytes a to b without surrounding white space, as str.strip does."""
    while a < b:
        c, size = class_at(text, a, table)
        if not c & SPACE:
            break
        a += size
    while a < b:
        last = before(text, b)
        c, _ = class_at(text, last, table)
        if not c & SPACE:
            break
        b = last
    return a, b


@njit
def next_line(text, i, b, table):
    """Return (end of the line that starts at byte i, start of the next line), as in str.splitlines."""
    while i < b:
        c, size = class_at(text, i, table)
        if c & BREAK:
            paired = text[i] == 0x0D and i + 1 < b and text[i + 1] == 0x0A
            return i, i + (2 if paired else size)
        i += size
    return b, b
