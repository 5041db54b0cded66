"""Stepping through UTF-8 and hashing bytes, for kernels; the text is valid UTF-8 (checked before any kernel runs)."""

from __future__ import annotations

import numpy as np
from numba import njit

# Multipliers are odd 64-bit constants of splitmix64 and of Knuth's generator; hashes stay uint64 throughout, since
# numba turns int64 with uint64 into float64.
STEP = np.uint64(0x5851F42D4C957F2D)
MIX = np.uint64(0xBF58476D1CE4E5B9)
SEED = np.uint64(0x9E3779B97F4A7C15)


@njit
def class_at(data, i, pages, classes):
    """Return (class, length in bytes) of the character that starts at byte i."""
    b = np.int64(data[i])
    if b < 0x80:
        return classes[b], 1
    if b < 0xE0:
        code = ((b & 0x1F) << 6) | (np.int64(data[i + 1]) & 0x3F)
        return classes[(np.int64(pages[code >> 8]) << 8) | (code & 0xFF)], 2
    if b < 0xF0:
        code = ((b & 0x0F) << 12) | ((np.int64(data[i + 1]) & 0x3F) << 6) | (np.int64(data[i + 2]) & 0x3F)
        return classes[(np.int64(pages[code >> 8]) << 8) | (code & 0xFF)], 3
    code = ((b & 0x07) << 18) | ((np.int64(data[i + 1]) & 0x3F) << 12)
    code |= ((np.int64(data[i + 2]) & 0x3F) << 6) | (np.int64(data[i + 3]) & 0x3F)
    return classes[(np.int64(pages[code >> 8]) << 8) | (code & 0xFF)], 4


@njit
def before(data, i):
    """Return the first byte of the character that ends just before byte i."""
    i -= 1
    while data[i] & 0xC0 == 0x80:
        i -= 1
    return i


@njit
def finish(h):
    """Return a hash whose low bits depend on every byte."""
    h ^= h >> np.uint64(32)
    h *= MIX
    return h ^ (h >> np.uint64(29))


@njit
def hash_bytes(data, a, b):
    """Return the 64-bit hash of bytes a to b."""
    h = SEED
    for i in range(a, b):
        h = (h + np.uint64(data[i])) * STEP
    return finish(h)


@njit
def find(keys, h):
    """Return the slot of hash h in an open-addressing table whose empty slots are 0, or -1."""
    mask = np.uint64(len(keys) - 1)
    slot = h & mask
    while keys[slot] != np.uint64(0):
        if keys[slot] == h:
            return np.int64(slot)
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1)
