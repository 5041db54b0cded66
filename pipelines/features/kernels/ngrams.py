"""Repeated word n-grams of one document: the most frequent 2- to 4-grams, and the coverage of repeated 5- to 10-grams.

An n-gram can repeat only if its (n-1)-gram does, so each length considers only the positions kept by the previous one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from windtunnel.pipelines.features.kernels.memory import folded_product
from windtunnel.pipelines.features.kernels.utf8 import KEY, ONE, STEP, ZERO


@njit
def pair(hashes, i):
    """Return the hash of the two words from i on."""
    return folded_product(hashes[i] ^ KEY, hashes[i + 1] * STEP)


@njit
def log_size(n):
    """Return the binary logarithm of the smallest power of two that is at least n, at least 4."""
    bits = 4
    while (1 << bits) < n:
        bits += 1
    return bits


@njit
def pairs_that_may_repeat(hashes, places, seen, n):
    """Write the positions whose 2-gram may repeat (with about 1/8 false positives) into `places`; return their number.

    One byte per slot records whether a pair occurred once (1) or more often (2), without resolving collisions.
    """
    bits = log_size(8 * n)
    shift = np.uint64(64 - bits)
    for i in range(1 << bits):
        seen[i] = 0
    for i in range(n - 1):
        slot = np.int64(pair(hashes, i) >> shift)
        places[i] = slot
        seen[slot] = 1 + (seen[slot] != 0)
    count = 0
    for i in range(n - 1):
        again = seen[places[i]] > 1
        places[count] = i
        count += again
    return count


@njit
def slot_of(held, mask, h):
    """Return the slot that contains h, or the empty slot for it."""
    slot = (h >> ONE) & mask
    while held[np.int64(slot)] != ZERO and held[np.int64(slot)] != h:
        slot = (slot + ONE) & mask
    return np.int64(slot)


@njit
def repeated(places, slots, grams, held, counts, count):
    """Keep the first `count` positions whose n-gram (hash in `grams`) repeats, with its slot in `slots`.

    Returns (positions kept, first position of the most frequent n-gram, its count). Ties go to the earliest.
    """
    size = 1 << log_size(2 * count)
    mask = np.uint64(size - 1)
    for i in range(size):
        held[i] = ZERO
    best, best_first = 1, 0
    for k in range(count):
        h = grams[k] | ONE
        slot = slot_of(held, mask, h)
        slots[k] = slot
        if held[slot] == ZERO:
            held[slot] = h
            counts[2 * slot] = 1
            counts[2 * slot + 1] = places[k]
            continue
        times, first = np.int64(counts[2 * slot]) + 1, np.int64(counts[2 * slot + 1])
        counts[2 * slot] = times
        if times > best or (times == best and first < best_first):
            best, best_first = times, first
    kept = 0
    for k in range(count):
        slot = np.int64(slots[k])
        places[kept], slots[kept], grams[kept] = places[k], slot, grams[k]
        kept += counts[2 * slot] > 1
    return kept, best_first, best


@njit
def covered(lengths, places, slots, counts, count, n):
    """Return the characters of n-grams that repeat an earlier one, skipping the n words of each."""
    total, free = 0, 0
    for k in range(count):
        i = np.int64(places[k])
        if i < free:
            continue
        slot = np.int64(slots[k])
        if counts[2 * slot + 1] < 0:  # seen before, outside skipped words
            for j in range(i, i + n):
                total += np.int64(lengths[j])
            free = i + n
        counts[2 * slot + 1] = -1
    return total


@njit
def lengthen(hashes, places, grams, count, n, words):
    """Extend (n-1)-grams to n-grams within the document; return their number."""
    while count and np.int64(places[count - 1]) + n > words:
        count -= 1
    for k in range(count):
        grams[k] = folded_product(grams[k] ^ hashes[np.int64(places[k]) + n - 1], KEY)
    return count


@njit
def repetition(hashes, lengths, places, slots, grams, seen, held, counts, words, state, top, duplicate):
    """Fill three columns from `top` on (2- to 4-grams) and six from `duplicate` on (5- to 10-grams)."""
    count = pairs_that_may_repeat(hashes, places, seen, words) if words > 1 else 0
    for k in range(count):
        grams[k] = pair(hashes, np.int64(places[k]))
    for n in range(2, 11):
        if words < n or (n > 4 and not count):
            return
        first, times = 0, 1
        if count:
            if n > 2:
                count = lengthen(hashes, places, grams, count, n, words)
            count, first, times = repeated(places, slots, grams, held, counts, count)
        if n > 4:
            state[duplicate + n - 5] = covered(lengths, places, slots, counts, count, n)
            continue
        chars = n - 1
        for j in range(first, first + n):
            chars += np.int64(lengths[j])
        state[top + n - 2] = chars * times
