"""Repeated word n-grams of one document: the most frequent 2- to 4-gram, and what repeated 5- to 10-grams cover.

An n-gram can repeat only where its (n-1)-gram does, so each length looks at the places that the one before left over.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.kernels.utf8 import STEP, finish


@njit
def gram(hashes, i, n):
    """Return the hash of the n words from i on; never 0, which marks an empty slot."""
    h = np.uint64(n)
    for j in range(i, i + n):
        h = (h ^ hashes[j]) * STEP
        h ^= h >> np.uint64(29)
    return finish(h) | np.uint64(1)


@njit
def table_size(n, most):
    """Return the slots (a power of two) for n entries at half load, at most `most`."""
    size = 16
    while size < 2 * n and size < most:
        size *= 2
    return size


@njit
def pairs_that_may_repeat(s, n):
    """Write the positions whose 2-gram may repeat (a few do not) into `s.places`; return how many."""
    size = table_size(2 * n, len(s.seen))
    mask = np.uint64(size - 1)
    s.seen[:size] = 0
    for i in range(n - 1):
        slot = np.int64(gram(s.hashes, i, 2) >> np.uint64(1) & mask)
        s.seen[slot] = min(s.seen[slot] + 1, 2)
    count = 0
    for i in range(n - 1):
        if s.seen[np.int64(gram(s.hashes, i, 2) >> np.uint64(1) & mask)] > 1:
            s.places[count] = i
            count += 1
    return count


@njit
def count_grams(s, places, n, words):
    """Count the n-grams at `places` positions; keep those positions whose n-gram repeats.

    Returns (positions kept, characters of the most frequent n-gram once, its count). Ties go to the one seen first.
    """
    size = table_size(places, len(s.keys))
    mask = np.uint64(size - 1)
    s.keys[:size] = 0
    best_count, best_first = 1, 0
    for k in range(places):
        i = s.places[k]
        if i + n > words:
            continue
        h = gram(s.hashes, i, n)
        slot = (h >> np.uint64(1)) & mask
        while s.keys[slot] != np.uint64(0) and s.keys[slot] != h:
            slot = (slot + np.uint64(1)) & mask
        if s.keys[slot] == np.uint64(0):
            s.keys[slot] = h
            s.counts[slot] = 1
            s.firsts[slot] = i
        else:
            s.counts[slot] += 1
        count, first = s.counts[slot], s.firsts[slot]
        if count > best_count or (count == best_count and count > 1 and first < best_first):
            best_count, best_first = count, first
    kept = 0
    for k in range(places):
        i = s.places[k]
        if i + n > words:
            continue
        h = gram(s.hashes, i, n)
        slot = (h >> np.uint64(1)) & mask
        while s.keys[slot] != h:
            slot = (slot + np.uint64(1)) & mask
        if s.counts[slot] > 1:
            s.places[kept] = i
            kept += 1
    return kept, best_first, best_count


@njit
def covered(s, places, n, words):
    """Return the characters of n-grams that repeat an earlier one; after each, the n words are stepped over."""
    size = table_size(places, len(s.keys))
    mask = np.uint64(size - 1)
    s.keys[:size] = 0
    total, free = 0, 0
    for k in range(places):
        i = s.places[k]
        if i < free or i + n > words:
            continue
        h = gram(s.hashes, i, n)
        slot = (h >> np.uint64(1)) & mask
        while s.keys[slot] != np.uint64(0) and s.keys[slot] != h:
            slot = (slot + np.uint64(1)) & mask
        if s.keys[slot] == h:
            for j in range(i, i + n):
                total += s.chars[j]
            free = i + n
        else:
            s.keys[slot] = h
    return total


@njit
def repetition(s, words, out, top, repeated):
    """Fill three columns from `top` (2- to 4-grams) and six from `repeated` (5- to 10-grams) of one document."""
    places = pairs_that_may_repeat(s, words) if words > 1 else 0
    for n in range(2, 5):
        if words < n:
            return
        first, count = 0, 1
        if places:
            places, first, count = count_grams(s, places, n, words)
        chars = n - 1
        for j in range(first, first + n):
            chars += s.chars[j]
        out[top + n - 2] = chars * count
    for n in range(5, 11):
        if not places or words < n:
            return
        places, _, _ = count_grams(s, places, n, words)
        out[repeated + n - 5] = covered(s, places, n, words)
