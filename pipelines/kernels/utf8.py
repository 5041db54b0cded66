"""Stepping through UTF-8 and hashing bytes, for kernels; the text is valid UTF-8 (checked before any kernel runs)."""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.kernels.tables import ASCII, BLOOM_SHIFT, SPECIAL, SPECIAL_MASK

# Multipliers are odd 64-bit constants of Knuth's generator and of splitmix64; hashes stay uint64 throughout, since
# numba turns int64 with uint64 into float64.
STEP = np.uint64(0x5851F42D4C957F2D)
MIX = np.uint64(0xBF58476D1CE4E5B9)
SEED = np.uint64(0x9E3779B97F4A7C15)
ONE = np.uint64(1)
ZERO = np.uint64(0)


@njit
def wide_class(data, i, table):
    """Return (class, length in bytes) of the character of two bytes and more that starts at byte i."""
    b = np.int64(data[i])
    code = np.int64(data[i + 1]) & 0x3F
    if b < 0xE0:
        code |= (b & 0x1F) << 6
        size = 2
    elif b < 0xF0:
        code = ((b & 0x0F) << 12) | (code << 6) | (np.int64(data[i + 2]) & 0x3F)
        size = 3
    else:
        code = ((b & 0x07) << 18) | (code << 12)
        code |= ((np.int64(data[i + 2]) & 0x3F) << 6) | (np.int64(data[i + 3]) & 0x3F)
        size = 4
    return table[np.int64(table[code >> 8]) + (code & 0xFF)], size


@njit
def class_at(data, i, table):
    """Return (class, length in bytes) of the character that starts at byte i."""
    b = np.int64(data[i])
    if b < 0x80:
        return table[ASCII + b], 1
    return wide_class(data, i, table)


@njit
def before(data, i):
    """Return the first byte of the character that ends just before byte i."""
    i -= 1
    while data[i] & 0xC0 == 0x80:
        i -= 1
    return i


@njit
def finish(h):
    """Return a hash whose every bit depends on every byte, never 0."""
    h ^= h >> np.uint64(32)
    h *= MIX
    return (h ^ (h >> np.uint64(29))) | ONE


@njit
def hash_bytes(data, a, b):
    """Return the 64-bit hash of bytes a to b, never 0."""
    h = SEED
    for i in range(a, b):
        h = (h + np.uint64(data[i])) * STEP
    return finish(h)


@njit
def find(keys, first, mask, h):
    """Return the value that an open-addressing table of (hash, value) pairs at `first` holds for h, or 0."""
    slot = (h >> ONE) & mask
    while True:
        place = first + 2 * np.int64(slot)
        if keys[place] == h:
            return keys[place + 1]
        if keys[place] == ZERO:
            return ZERO
        slot = (slot + ONE) & mask


@njit
def special_of(keys, h):
    """Return the packed exception whose hash is h, or 0; a bit table answers nearly always at once."""
    bit = h >> BLOOM_SHIFT
    if not (keys[np.int64(bit >> np.uint64(6))] >> (bit & np.uint64(63))) & ONE:
        return 0
    return np.int64(find(keys, SPECIAL, SPECIAL_MASK, h))
