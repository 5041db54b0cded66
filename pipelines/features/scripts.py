"""The share of letters in given Unicode scripts, by a table of code points and one pass over the bytes."""

from __future__ import annotations

import sys
from functools import cache

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit

from windtunnel.pipelines.features.buffers import padded_buffers
from windtunnel.pipelines.features.script_names import script_class

LETTER, IN_SCRIPTS = 1, 2


def script_shares(text: pa.Array | pa.ChunkedArray, scripts: tuple[str, ...]) -> np.ndarray:
    """Return the share of each document's letters in the given scripts, f64; nan for a document without letters.

    Letters are those of Unicode category L; marks and digits are ignored. Scripts are named as in `script_class`.
    """
    data, offsets = padded_buffers(text)
    letters = np.zeros((2, len(offsets) - 1), dtype=np.int64)
    _count(data, offsets, _table(scripts), letters)
    with np.errstate(invalid="ignore"):
        return letters[1] / letters[0]


@cache
def _table(scripts: tuple[str, ...]) -> np.ndarray:
    """Return the flags LETTER and IN_SCRIPTS of every code point, u8[0x110000]."""
    known = np.array([code for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000])
    characters = pl.Series("c", [chr(code) for code in known])
    table = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    table[known] |= characters.str.contains(r"\p{L}").to_numpy() * np.uint8(LETTER)
    for script in scripts:
        table[known] |= characters.str.contains(script_class(script)).to_numpy() * np.uint8(IN_SCRIPTS)
    return table


@njit(cache=True, nogil=True)
def _count(data, offsets, table, letters):
    """Write the number of letters into row 0 of `letters`, those of the scripts into row 1; data is valid UTF-8."""
    for k in range(len(offsets) - 1):
        i, end = offsets[k], offsets[k + 1]
        total = in_scripts = 0
        while i < end:
            b = np.int64(data[i])
            if b < 0x80:
                code, size = b, 1
            elif b < 0xE0:
                code, size = (b & 0x1F) << 6 | np.int64(data[i + 1]) & 0x3F, 2
            elif b < 0xF0:
                code = (b & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | np.int64(data[i + 2]) & 0x3F
                size = 3
            else:
                code = (b & 0x07) << 18 | (np.int64(data[i + 1]) & 0x3F) << 12
                code |= (np.int64(data[i + 2]) & 0x3F) << 6 | np.int64(data[i + 3]) & 0x3F
                size = 4
            i += size
            bits = table[code]
            total += bits & 1
            in_scripts += bits == 3
        letters[0, k], letters[1, k] = total, in_scripts
