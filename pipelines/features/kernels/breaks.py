"""Where lines end and what white space surrounds them, as str.splitlines and str.strip have it."""

from __future__ import annotations

from numba import njit

from windtunnel.pipelines.features.kernels.classes import BREAK, SPACE
from windtunnel.pipelines.features.kernels.utf8 import before, class_at


@njit
def strip(text, a, b, table):
    """Return bytes a to b without white space at both ends, as str.strip does."""
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
    """Return (end of the line that starts at byte i, start of the next one), as str.splitlines breaks lines."""
    while i < b:
        c, size = class_at(text, i, table)
        if c & BREAK:
            paired = text[i] == 0x0D and i + 1 < b and text[i + 1] == 0x0A
            return i, i + (2 if paired else size)
        i += size
    return b, b
