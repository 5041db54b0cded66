"""Numba kernels: hashes of normalised words from UTF-8, with the table of `windtunnel.pipelines.features.folding`.

Hashes are explicitly unsigned, because numba converts int64 with uint64 to float64. Tables are arguments, because
global arrays are stored in the compiled cache.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint32, uint64

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # of the rolling polynomial hash over words: odd, from the golden ratio
CHARACTER_PRIME = np.uint64(0x100000001B3)
EMPTY_WORD = np.uint64(0xCBF29CE484222325)
_CLASS_SHIFT = np.uint32(29)
_SEVERAL = np.uint32(1 << 28)
_VALUE = np.uint32((1 << 21) - 1)


@njit(cache=True, inline="always")
def mix(value):
    """Return a hash of a u64 (the finaliser of MurmurHash3)."""
    value = uint64(value)
    value ^= value >> uint64(33)
    value *= uint64(0xFF51AFD7ED558CCD)
    value ^= value >> uint64(33)
    value *= uint64(0xC4CEB9FE1A85EC53)
    value ^= value >> uint64(33)
    return value


@njit(cache=True, inline="always")
def decode(data, at, end):
    """Return (code point, length) of the UTF-8 character at `at`; an invalid one is U+FFFD with length 1."""
    first = data[at]
    if first < 0x80:
        return uint32(first), 1
    if first >= 0xC2 and first < 0xE0 and at + 1 < end:
        return uint32((uint32(first) & uint32(0x1F)) << uint32(6) | uint32(data[at + 1]) & uint32(0x3F)), 2
    if first >= 0xE0 and first < 0xF0 and at + 2 < end:
        high = (uint32(first) & uint32(0x0F)) << uint32(12) | (uint32(data[at + 1]) & uint32(0x3F)) << uint32(6)
        return uint32(high | uint32(data[at + 2]) & uint32(0x3F)), 3
    if first >= 0xF0 and first < 0xF5 and at + 3 < end:
        high = (uint32(first) & uint32(0x07)) << uint32(18) | (uint32(data[at + 1]) & uint32(0x3F)) << uint32(12)
        low = (uint32(data[at + 2]) & uint32(0x3F)) << uint32(6) | uint32(data[at + 3]) & uint32(0x3F)
        code = uint32(high | low)
        return (code if code < uint32(0x110000) else uint32(0xFFFD)), 4
    return uint32(0xFFFD), 1


@njit(cache=True, inline="always")
def is_decimal_mark(code):
    """Return whether a character between digits joins them into one number."""
    return code == uint32(46) or code == uint32(44) or code == uint32(0x060C) or code == uint32(0x066B)


@njit(cache=True, inline="always")
def number_end(data, at, end, folds):
    """Return the end of the number that starts at `at`: digits with at most one decimal mark."""
    marked = False
    while at < end:
        code, width = decode(data, at, end)
        if folds[code] >> _CLASS_SHIFT == uint32(2):
            at += width
            continue
        if marked or not is_decimal_mark(code) or at + width >= end:
            break
        after, _ = decode(data, at + width, end)
        if folds[after] >> _CLASS_SHIFT != uint32(2):
            break
        marked = True
        at += width
    return at


@njit(cache=True, inline="always")
def fold_into(hashed, fold, expansions):
    """Return the word hash after adding one character."""
    if fold & _SEVERAL == uint32(0):
        return (hashed ^ uint64(fold & _VALUE)) * CHARACTER_PRIME
    at = np.int64(fold & _VALUE)
    while expansions[at] != 0:
        hashed = (hashed ^ uint64(expansions[at])) * CHARACTER_PRIME
        at += 1
    return hashed


@njit(cache=True, inline="always")
def room(size):
    """Return the maximum number of words in `size` bytes, where a word and its separator take two bytes.

    If punctuation characters are words (`Normalisation(punctuation=False)`) the number can be `size`.
    """
    return size // 2 + 2


@njit(cache=True, nogil=True)
def words_of(data, start, end, folds, expansions, out, ends):
    """Write the hash of every word of data[start:end] into `out` and its end into `ends`; return the number of words.

    `out` (u64) and `ends` (i64) have at least `room(end - start)` entries.
    """
    count = 0
    hashed = EMPTY_WORD
    inside = False
    at = start
    while at < end:
        code, width = decode(data, at, end)
        fold = folds[code]
        kind = fold >> _CLASS_SHIFT
        if kind == uint32(1):
            hashed = fold_into(hashed, fold, expansions)
            inside = True
            at += width
        elif kind == uint32(3):
            at += width
        elif kind == uint32(2):
            hashed = (hashed ^ uint64(48)) * CHARACTER_PRIME
            inside = True
            at = number_end(data, at, end, folds)
        else:
            if inside:
                out[count] = mix(hashed)
                ends[count] = at
                count += 1
                hashed = EMPTY_WORD
                inside = False
            at += width
            if kind == uint32(4):
                out[count] = mix(fold_into(EMPTY_WORD, fold, expansions))
                ends[count] = at
                count += 1
    if inside:
        out[count] = mix(hashed)
        ends[count] = end
        count += 1
    return count
