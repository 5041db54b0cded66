"""Repeated word n-grams of one document: the most frequent 2- to 4-gram, and what repeated 5- to 10-grams cover.

An n-gram can repeat only where its (n-1)-gram does, so each length looks only at the places that the one before left.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.kernels.memory import folded_product
from pipelines.kernels.utf8 import KEY, ONE, STEP, ZERO


@njit
def pair(hashes, i):
    """Return the hash of the two words from i on."""
    return folded_product(hashes[i] ^ KEY, hashes[i + 1] * STEP)


@njit
def gram(hashes, i, n):
    """Return the hash of the n words from i on, never 0."""
    h = np.uint64(n)
    for j in range(i, i + n):
        h = folded_product(h ^ hashes[j], KEY)
    return h | ONE


@njit
def log_size(n):
    """Return the binary logarithm of the smallest power of two that is at least n (4 at least)."""
    bits = 4
    while (1 << bits) < n:
        bits += 1
    return bits


@njit
def pairs_that_may_repeat(hashes, places, seen, n):
    """Write the positions whose 2-gram may repeat (one in eight of them does not) into `places`; return how many.

    One byte a slot says that a pair was met (1) and met again (2): nothing is looked up but the last step.
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
    """Return the slot that holds h, or the empty slot where it belongs."""
    slot = (h >> ONE) & mask
    while held[np.int64(slot)] != ZERO and held[np.int64(slot)] != h:
        slot = (slot + ONE) & mask
    return np.int64(slot)


@njit
def count_grams(hashes, places, held, counts, count, n, words):
    """Count the n-grams at the first `count` of `places`; keep those positions whose n-gram repeats.

    Returns (positions kept, first position of the most frequent n-gram, its count). Ties go to the one seen first.
    """
    size = 1 << log_size(2 * count)
    mask = np.uint64(size - 1)
    for i in range(size):
        held[i] = ZERO
    best, best_first = 1, 0
    for k in range(count):
        i = np.int64(places[k])
        if i + n > words:
            continue
        h = gram(hashes, i, n)
        slot = slot_of(held, mask, h)
        if held[slot] == ZERO:
            held[slot] = h
            counts[2 * slot] = 0
            counts[2 * slot + 1] = i
        counts[2 * slot] += 1
        times, first = np.int64(counts[2 * slot]), np.int64(counts[2 * slot + 1])
        if times > best or (times == best and times > 1 and first < best_first):
            best, best_first = times, first
    kept = 0
    for k in range(count):
        i = np.int64(places[k])
        if i + n <= words and counts[2 * slot_of(held, mask, gram(hashes, i, n))] > 1:
            places[kept] = i
            kept += 1
    return kept, best_first, best


@njit
def covered(hashes, lengths, places, held, count, n, words):
    """Return the characters of n-grams that repeat an earlier one; after each, the n words are stepped over."""
    size = 1 << log_size(2 * count)
    mask = np.uint64(size - 1)
    for i in range(size):
        held[i] = ZERO
    total, free = 0, 0
    for k in range(count):
        i = np.int64(places[k])
        if i < free or i + n > words:
            continue
        h = gram(hashes, i, n)
        slot = slot_of(held, mask, h)
        if held[slot] == h:
            for j in range(i, i + n):
                total += np.int64(lengths[j])
            free = i + n
        else:
            held[slot] = h
    return total


@njit
def repetition(hashes, lengths, places, seen, held, counts, words, state, top, repeated):
    """Fill three columns from `top` on (2- to 4-grams) and six from `repeated` on (5- to 10-grams)."""
    count = pairs_that_may_repeat(hashes, places, seen, words) if words > 1 else 0
    for n in range(2, 5):
        if words < n:
            return
        first, times = 0, 1
        if count:
            count, first, times = count_grams(hashes, places, held, counts, count, n, words)
        chars = n - 1
        for j in range(first, first + n):
            chars += np.int64(lengths[j])
        state[top + n - 2] = chars * times
    for n in range(5, 11):
        if not count or words < n:
            return
        count, _, _ = count_grams(hashes, places, held, counts, count, n, words)
        if count:
            state[repeated + n - 5] = covered(hashes, lengths, places, held, count, n, words)
