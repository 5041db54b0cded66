"""Numba kernels: all words of a batch, and repeated runs of words from a suffix array."""

from __future__ import annotations

import numpy as np
from numba import njit

from windtunnel.pipelines.features.kernels.folded_words import room, words_of


@njit(cache=True, nogil=True)
def all_words(data, offsets, alive, folds, expansions):
    """Return (concatenated word hashes u64 of the documents with `alive`, number of words of every document i64)."""
    counts = np.zeros(offsets.size - 1, np.int64)
    held, filled = np.empty(1024, np.uint64), 0
    words, ends = np.empty(0, np.uint64), np.empty(0, np.int64)
    for document in range(offsets.size - 1):
        if not alive[document]:
            continue
        start, end = offsets[document], offsets[document + 1]
        if words.size < room(end - start):
            words, ends = np.empty(room(end - start), np.uint64), np.empty(room(end - start), np.int64)
        count = words_of(data, start, end, folds, expansions, words, ends)
        while filled + count > held.size:
            held = np.append(held, held)
        held[filled : filled + count] = words[:count]
        filled += count
        counts[document] = count
    return held[:filled].copy(), counts


@njit(cache=True, nogil=True)
def repeated(words, order, length):
    """Return the sorted positions of runs of `length` words that also occur at an earlier position.

    `order` is the suffix array, in which equal runs are adjacent.
    """
    is_repeat = np.zeros(words.size, np.bool_)
    group, first = 0, order[0] if order.size else 0
    for i in range(1, order.size + 1):
        same = i < order.size and max(order[i], order[i - 1]) + length <= words.size
        if same:
            for k in range(length):
                if words[order[i] + k] != words[order[i - 1] + k]:
                    same = False
                    break
        if same:
            first = min(first, order[i])
            continue
        if i - group > 1:
            for j in range(group, i):
                is_repeat[order[j]] = order[j] != first
        if i < order.size:
            group, first = i, order[i]
    return np.flatnonzero(is_repeat)
