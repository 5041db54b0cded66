"""Numba kernels: a Bloom filter, and the removal of lines or paragraphs found in it."""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

from windtunnel.pipelines.features.kernels.folded_words import MULTIPLIER, mix, room, words_of
from windtunnel.pipelines.features.kernels.minhash import power
from windtunnel.pipelines.features.kernels.units import line_end


@njit(cache=True, nogil=True)
def probe(bits, hashes, key, add):
    """Return whether the filter contains a key; with `add`, insert it. `bits`: u64 words, a power of two of them."""
    last = uint64(bits.size * 64 - 1)
    step = mix(key ^ uint64(0x9E3779B97F4A7C15)) | uint64(1)
    held = True
    place = key
    for _ in range(hashes):
        at = place & last
        word, bit = at >> uint64(6), uint64(1) << (at & uint64(63))
        if bits[word] & bit == uint64(0):
            held = False
            if add:
                bits[word] |= bit
            else:
                return False
        place += step
    return held


@njit(cache=True, nogil=True)
def unit_grams(data, start, end, folds, expansions, ngram, paragraph, words, places, grams, stops, sizes, grams_of):
    """Write the end, number of words and number of n-grams of each line or paragraph; return the number of units.

    A unit with fewer words than `ngram` is one n-gram; with `ngram` 0 every unit is one. The n-grams of all units are
    concatenated in `grams`.
    """
    count, filled, at = 0, 0, start
    while at < end:
        stop = line_end(data, at, end, paragraph)
        held = words_of(data, at, stop, folds, expansions, words, places)
        length = held if ngram == 0 or held < ngram else ngram
        top, rolled, number = power(length), uint64(0), 0
        for i in range(held):
            rolled = rolled * MULTIPLIER + words[i]
            if i >= length:
                rolled -= words[i - length] * top
            if i >= length - 1:
                grams[filled + number] = mix(rolled ^ uint64(length))
                number += 1
        stops[count], sizes[count], grams_of[count] = stop, held, number
        filled += number
        count += 1
        at = stop
    return count


@njit(cache=True, nogil=True)
def share_seen(bits, hashes, grams, first, number):
    """Return how many of grams[first : first + number] the filter contains."""
    seen = 0
    for i in range(first, first + number):
        seen += probe(bits, hashes, grams[i], False)
    return seen


@njit(cache=True, nogil=True)
def filter_texts(data, offsets, alive, folds, expansions, ngram, paragraph, threshold, whole, shortest, bits, hashes):
    """Remove from each document with `alive` the units whose share of known n-grams is at least `threshold`.

    Kept units are inserted into the filter immediately, so a unit is compared with everything before it. With `whole`,
    a document whose share of known n-grams is at least `threshold` is removed completely and not inserted. Units with
    fewer than `shortest` words are neither tested nor inserted. Return (bytes and offsets of the new texts; for each
    document: 0 unchanged, 1 changed, 2 removed; units removed; words kept).
    """
    documents = offsets.size - 1
    out, new = np.empty(offsets[documents] - offsets[0], np.uint8), np.zeros(documents + 1, np.int64)
    state, removed, kept = np.zeros(documents, np.int8), np.zeros(documents, np.int64), np.zeros(documents, np.int64)
    words, places, grams = np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.uint64)
    stops, sizes, grams_of = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
    filled = 0
    for document in range(documents):
        start, end = offsets[document], offsets[document + 1]
        if not alive[document]:
            new[document + 1] = filled
            continue
        if words.size < room(end - start):
            words, places = np.empty(room(end - start), np.uint64), np.empty(room(end - start), np.int64)
            grams = np.empty(room(end - start), np.uint64)
        lines = 1
        for at in range(start, end):
            lines += data[at] == 10
        if stops.size < lines:
            stops, sizes, grams_of = np.empty(lines, np.int64), np.empty(lines, np.int64), np.empty(lines, np.int64)
        count = unit_grams(
            data, start, end, folds, expansions, ngram, paragraph, words, places, grams, stops, sizes, grams_of
        )
        total = grams_of[:count].sum()
        if whole and total > 0 and share_seen(bits, hashes, grams, 0, total) >= threshold * total:
            state[document] = 2
            count = 0
        at, gram = start, 0
        for unit in range(count):
            size, judged = grams_of[unit], sizes[unit] > 0 and sizes[unit] >= shortest
            if judged and share_seen(bits, hashes, grams, gram, size) >= threshold * size:
                removed[document] += 1
                state[document] = 1
            else:
                length = stops[unit] - at
                out[filled : filled + length] = data[at : stops[unit]]
                filled += length
                kept[document] += sizes[unit]
                if judged:
                    for i in range(gram, gram + size):
                        probe(bits, hashes, grams[i], True)
            gram += size
            at = stops[unit]
        new[document + 1] = filled
    return out[:filled], new, state, removed, kept
