"""UTF-8 decoding and hashing for kernels; the text must be valid UTF-8, which callers check.

`text` is a pointer to bytes with eight readable bytes after the end, `table` a pointer to `tables.word_table()`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from windtunnel.pipelines.features.kernels.memory import eight_bytes, folded_product
from windtunnel.pipelines.features.kernels.tables import (
    ASCII,
    BLOOM_SHIFT,
    HASH_KEY,
    HASH_SEED,
    PAGES,
    SPECIAL,
    SPECIAL_MASK,
)

# Hashes are uint64 throughout, because numba converts int64 with uint64 to float64.
KEY, SEED = np.uint64(HASH_KEY), np.uint64(HASH_SEED)
STEP = np.uint64(0x5851F42D4C957F2D)  # Knuth's multiplier
ONE, ZERO = np.uint64(1), np.uint64(0)


@njit
def wide_class(text, i, table):
    """Return (class, length in bytes) of the character of two or more bytes that starts at byte i."""
    b = np.int64(text[i])
    code = np.int64(text[i + 1]) & 0x3F
    if b < 0xE0:
        code |= (b & 0x1F) << 6
        size = 2
    elif b < 0xF0:
        code = ((b & 0x0F) << 12) | (code << 6) | (np.int64(text[i + 2]) & 0x3F)
        size = 3
    else:
        code = ((b & 0x07) << 18) | (code << 12)
        code |= ((np.int64(text[i + 2]) & 0x3F) << 6) | (np.int64(text[i + 3]) & 0x3F)
        size = 4
    return table[np.int64(table[PAGES + (code >> 8)]) + (code & 0xFF)], size


@njit
def class_at(text, i, table):
    """Return (class, length in bytes) of the character that starts at byte i."""
    b = np.int64(text[i])
    if b < 0x80:
        return table[ASCII + b], 1
    return wide_class(text, i, table)


@njit
def before(text, i):
    """Return the first byte of the character that ends just before byte i."""
    i -= 1
    while text[i] & 0xC0 == 0x80:
        i -= 1
    return i


@njit
def hash_bytes(text, a, b):
    """Return a 64-bit hash of bytes a to b, never 0 (as in wyhash: eight bytes per step, folded 128-bit products)."""
    h = SEED ^ np.uint64(b - a)
    while b - a > 8:
        h = folded_product(h ^ eight_bytes(text, a), KEY)
        a += 8
    if b > a:
        h = folded_product(h ^ (eight_bytes(text, a) << np.uint64(8 * (8 - (b - a)))), KEY)
    return h | ONE


@njit
def find(table, first, mask, h):
    """Return the value of h in the table of (hash, value) pairs at `first`, or 0."""
    slot = (h >> ONE) & mask
    while True:
        place = first + 2 * np.int64(slot)
        if table[place] == h:
            return np.int64(table[place + 1])
        if table[place] == ZERO:
            return 0
        slot = (slot + ONE) & mask


@njit
def special_of(table, h):
    """Return the packed exception with hash h, or 0; a Bloom filter rejects nearly all other hashes."""
    bit = h >> BLOOM_SHIFT
    if not (table[np.int64(bit >> np.uint64(6))] >> (bit & np.uint64(63))) & ONE:
        return 0
    return find(table, SPECIAL, SPECIAL_MASK, h)
