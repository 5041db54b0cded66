"""Repeated word n-grams of one document: the most frequent 2- to 4-gram, and what repeated 5- to 10-grams cover.

An n-gram can repeat only where its (n-1)-gram does, so each length looks at the places that the one before left over.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.kernels.utf8 import MIX, ONE, STEP, ZERO


@njit
def pair(hashes, i):
    """Return the hash of the two words from i on."""
    return ((hashes[i] ^ (hashes[i] >> np.uint64(31))) * STEP + hashes[i + 1]) * MIX


@njit
def gram(hashes, i, n):
    """Return the hash of the n words from i on, never 0."""
    h = np.uint64(n)
    for j in range(i, i + n):
        h = (h ^ hashes[j]) * STEP
        h ^= h >> np.uint64(29)
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
    """Write the positions whose 2-gram may repeat (one in eight does not) into `places`; return how many.

    One byte a slot says that a pair was met (1) and met again (2): nothing is looked up but the last step.
    """
    bits = min(log_size(8 * n), log_size(len(seen)))
    shift = np.uint64(64 - bits)
    seen[: 1 << bits] = 0
    for i in range(n - 1):
        slot = np.int64(pair(hashes, i) >> shift)
        places[i] = slot
        seen[slot] = min(seen[slot] + 1, 2)
    count = 0
    for i in range(n - 1):
        again = seen[places[i]] > 1
        places[count] = i
        count += again
    return count


@njit
def slot_of(keys, mask, h):
    """Return the slot that holds h, or the empty slot where it belongs."""
    slot = np.int64((h >> ONE) & mask)
    while keys[slot] != ZERO and keys[slot] != h:
        slot = np.int64(np.uint64(slot + 1) & mask)
    return slot


@njit
def count_grams(hashes, places, keys, counts, count, n, words):
    """Count the n-grams at the first `count` of `places`; keep those positions whose n-gram repeats.

    Returns (positions kept, first position of the most frequent n-gram, its count). Ties go to the one seen first.
    """
    size = 1 << log_size(2 * count)
    mask = np.uint64(size - 1)
    keys[:size] = ZERO
    best, best_first = 1, 0
    for k in range(count):
        i = places[k]
        if i + n > words:
            continue
        h = gram(hashes, i, n)
        slot = slot_of(keys, mask, h)
        if keys[slot] == ZERO:
            keys[slot] = h
            counts[2 * slot] = 0
            counts[2 * slot + 1] = i
        counts[2 * slot] += 1
        times, first = counts[2 * slot], counts[2 * slot + 1]
        if times > best or (times == best and times > 1 and first < best_first):
            best, best_first = times, first
    kept = 0
    for k in range(count):
        i = places[k]
        if i + n <= words and counts[2 * slot_of(keys, mask, gram(hashes, i, n))] > 1:
            places[kept] = i
            kept += 1
    return kept, best_first, best


@njit
def covered(hashes, lengths, places, keys, count, n, words):
    """Return the characters of n-grams that repeat an earlier one; after each, the n words are stepped over."""
    size = 1 << log_size(2 * count)
    mask = np.uint64(size - 1)
    keys[:size] = ZERO
    total, free = 0, 0
    for k in range(count):
        i = places[k]
        if i < free or i + n > words:
            continue
        h = gram(hashes, i, n)
        slot = slot_of(keys, mask, h)
        if keys[slot] == h:
            for j in range(i, i + n):
                total += lengths[j]
            free = i + n
        else:
            keys[slot] = h
    return total


@njit
def repetition(s, words, out, top, repeated):
    """Fill three columns from `top` on (2- to 4-grams) and six from `repeated` on (5- to 10-grams)."""
    count = pairs_that_may_repeat(s.hashes, s.places, s.seen, words) if words > 1 else 0
    for n in range(2, 5):
        if words < n:
            return
        first, times = 0, 1
        if count:
            count, first, times = count_grams(s.hashes, s.places, s.keys, s.counts, count, n, words)
        chars = n - 1
        for j in range(first, first + n):
            chars += s.chars[j]
        out[top + n - 2] = chars * times
    for n in range(5, 11):
        if not count or words < n:
            return
        count, _, _ = count_grams(s.hashes, s.places, s.keys, s.counts, count, n, words)
        if count:
            out[repeated + n - 5] = covered(s.hashes, s.chars, s.places, s.keys, count, n, words)
