"""Numba kernels: MinHash band keys directly from UTF-8 text, with word normalisation.

The fast hash family is a 32-bit multiply-add over 64-bit shingle hashes, whose minima are kept in vector registers.
Documents are processed in segments of about one megabyte, so memory does not grow with their length.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint32, uint64

from windtunnel.pipelines.features.kernels.folded_words import MULTIPLIER, mix, room, words_of

SEGMENT_BYTES = 1 << 20
HIGHEST = np.uint32(0xFFFFFFFF)


@njit(cache=True, nogil=True)
def segment_end(data, start, end):
    """Return the end of a segment of about one megabyte that ends at white space or the end of the document."""
    at = start + SEGMENT_BYTES
    while at < end and not (data[at] == 32 or data[at] == 10):
        at += 1
    return min(at, end)


@njit(cache=True, nogil=True)
def power(exponent):
    """Return MULTIPLIER ** exponent modulo 2^64."""
    result = uint64(1)
    for _ in range(exponent):
        result *= MULTIPLIER
    return result


@njit(cache=True, nogil=True)
def shingles_of(words, count, ngram, top, out):
    """Write the 32-bit hash of every run of `ngram` words into `out`; return their number. `top` = power(ngram)."""
    if count < ngram:
        return 0
    rolled = uint64(0)
    for i in range(ngram - 1):
        rolled = rolled * MULTIPLIER + words[i]
    for i in range(ngram - 1, count):
        rolled = rolled * MULTIPLIER + words[i]
        if i >= ngram:
            rolled -= words[i - ngram] * top
        out[i - ngram + 1] = uint32(mix(rolled) >> uint64(32))
    return count - ngram + 1


@njit(cache=True, nogil=True)
def lower_minima(shingles, count, a, b, minima):
    """Update each minimum with a * shingle + b (mod 2^32)."""
    for i in range(count):
        x = shingles[i]
        for p in range(minima.size):
            minima[p] = min(minima[p], uint32(a[p] * x + b[p]))


@njit(cache=True, nogil=True)
def signatures(data, offsets, alive, folds, expansions, ngram, a, b, out):
    """Write the minima of each document with `alive` into `out` (u32, documents x hashes); return shingle counts."""
    counts = np.zeros(offsets.size - 1, np.int64)
    words, ends, shingles = np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.uint32)
    top = power(ngram)
    for document in range(offsets.size - 1):
        minima = out[document]
        minima[:] = HIGHEST
        if not alive[document]:
            continue
        at, end, carried = offsets[document], offsets[document + 1], 0
        while at < end:
            cut = segment_end(data, at, end)
            if words.size < cut - at + ngram:
                words, ends = np.empty(cut - at + ngram, np.uint64), np.empty(cut - at + ngram, np.int64)
                shingles = np.empty(cut - at + ngram, np.uint32)
            count = carried + words_of(data, at, cut, folds, expansions, words[carried:], ends)
            count_of = shingles_of(words, count, ngram, top, shingles)
            lower_minima(shingles, count_of, a, b, minima)
            counts[document] += count_of
            carried = min(count, ngram - 1)
            words[:carried] = words[count - carried : count].copy()
            at = cut
    return counts


@njit(cache=True, nogil=True)
def band_keys(minima, bands, rows, out):
    """Write the 64-bit key of each band (u64, bands x documents) of a matrix of minima (documents x bands*rows)."""
    for document in range(minima.shape[0]):
        for band in range(bands):
            key = uint64(band + 1) * MULTIPLIER
            for row in range(rows):
                key = mix(key ^ uint64(minima[document, band * rows + row]))
            out[band, document] = key


@njit(cache=True, nogil=True)
def document_hashes(data, offsets, alive, folds, expansions):
    """Return two 64-bit hashes (u64, documents x 2) of the words of each document with `alive`; 0, 0 without words."""
    out = np.zeros((offsets.size - 1, 2), np.uint64)
    words, ends = np.empty(0, np.uint64), np.empty(0, np.int64)
    for document in range(offsets.size - 1):
        at, end = offsets[document], offsets[document + 1]
        first, second, length = uint64(0), uint64(0), 0
        while alive[document] and at < end:
            cut = segment_end(data, at, end)
            if words.size < room(cut - at):
                words, ends = np.empty(room(cut - at), np.uint64), np.empty(room(cut - at), np.int64)
            count = words_of(data, at, cut, folds, expansions, words, ends)
            for i in range(count):
                first = mix(first ^ words[i])
                second = second * MULTIPLIER + words[i]
            length += count
            at = cut
        if length:
            out[document, 0] = first
            out[document, 1] = mix(second ^ uint64(length)) | uint64(1)
    return out


@njit(cache=True, nogil=True)
def reference_minima(shingles, a, b, minima):
    """Write the minima of (shingle * a + b mod 2^64) mod (2^61 - 1), datatrove's 64-bit hash family."""
    prime = uint64((1 << 61) - 1)
    minima[:] = uint64(0xFFFFFFFFFFFFFFFF)
    for i in range(shingles.size):
        for p in range(minima.size):
            value = shingles[i] * a[p] + b[p]
            value = (value & prime) + (value >> uint64(61))
            minima[p] = min(minima[p], value if value < prime else value - prime)
