"""Where lines end and what white space surrounds them, as str.splitlines and str.strip have it."""

from __future__ import annotations

from numba import njit

from pipelines.kernels.classes import BREAK, SPACE
from pipelines.kernels.utf8 import before, class_at


@njit
def strip(data, a, b, table):
    """Return bytes a to b without white space at both ends, as str.strip does."""
    while a < b:
        c, size = class_at(data, a, table)
        if not c & SPACE:
            break
        a += size
    while a < b:
        last = before(data, b)
        c, _ = class_at(data, last, table)
        if not c & SPACE:
            break
        b = last
    return a, b


@njit
def next_line(data, i, b, table):
    """Return (end of the line that starts at byte i, start of the next one), as str.splitlines breaks lines."""
    while i < b:
        c, size = class_at(data, i, table)
        if c & BREAK:
            paired = data[i] == 0x0D and i + 1 < b and data[i + 1] == 0x0A
            return i, i + (2 if paired else size)
        i += size
    return b, b
