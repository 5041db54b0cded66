"""Numba kernels: matches of a fixed set of word n-grams, of several lengths, in documents."""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

from windtunnel.pipelines.features.kernels.folded_words import MULTIPLIER, mix, room, words_of
from windtunnel.pipelines.features.kernels.minhash import power
from windtunnel.pipelines.features.kernels.shingle_sets import find_token


@njit(cache=True, nogil=True)
def ngrams_of(data, start, end, folds, expansions, length, shortest):
    """Return the hashes (u64, in order) of a text's n-grams of `length` words, and their length.

    A text with fewer words, but at least `shortest`, is one n-gram; with fewer still it has none (length 0).
    """
    words, ends = np.empty(room(end - start), np.uint64), np.empty(room(end - start), np.int64)
    count = words_of(data, start, end, folds, expansions, words, ends)
    taken = min(length, count)
    if taken < shortest or taken == 0:
        return np.empty(0, np.uint64), 0
    out = np.empty(count - taken + 1, np.uint64)
    top = power(taken)
    rolled = uint64(0)
    for i in range(count):
        rolled = rolled * MULTIPLIER + words[i]
        if i >= taken:
            rolled -= words[i - taken] * top
        if i >= taken - 1:
            out[i - taken + 1] = mix(rolled ^ uint64(taken))
    return out, taken


@njit(cache=True, nogil=True)
def build_filter(tokens):
    """Return a bitmap (u64 words) of tokens with at least 16 bits per token, which rejects most other tokens."""
    bits = 1024
    while bits < 16 * tokens.size:
        bits *= 2
    bitmap = np.zeros(bits // 64, np.uint64)
    for i in range(tokens.size):
        place = (tokens[i] >> uint64(20)) & uint64(bits - 1)
        bitmap[place >> uint64(6)] |= uint64(1) << (place & uint64(63))
    return bitmap


@njit(cache=True, nogil=True)
def scan(data, offsets, alive, folds, expansions, lengths, bitmap, table, tokens):
    """Return (row i64, n-gram number i64, first byte, end byte) of every match, by row, then position.

    The first byte is the end of the previous word, so that a cut includes the space.
    """
    rows, grams = np.empty(64, np.int64), np.empty(64, np.int64)
    firsts, lasts = np.empty(64, np.int64), np.empty(64, np.int64)
    words, ends = np.empty(0, np.uint64), np.empty(0, np.int64)
    rolled, tops = np.zeros(lengths.size, np.uint64), np.zeros(lengths.size, np.uint64)
    for k in range(lengths.size):
        tops[k] = power(lengths[k])
    bits = uint64(bitmap.size * 64 - 1)
    matches = 0
    for document in range(offsets.size - 1):
        start, end = offsets[document], offsets[document + 1]
        if not alive[document]:
            continue
        if words.size < room(end - start):
            words, ends = np.empty(room(end - start), np.uint64), np.empty(room(end - start), np.int64)
        count = words_of(data, start, end, folds, expansions, words, ends)
        rolled[:] = uint64(0)
        for i in range(count):
            for k in range(lengths.size):
                length = lengths[k]
                rolled[k] = rolled[k] * MULTIPLIER + words[i]
                if i >= length:
                    rolled[k] -= words[i - length] * tops[k]
                if i < length - 1:
                    continue
                token = mix(rolled[k] ^ uint64(length))
                place = (token >> uint64(20)) & bits
                if (bitmap[place >> uint64(6)] >> (place & uint64(63))) & uint64(1) == uint64(0):
                    continue
                at = find_token(token, table, tokens)
                if at < 0:
                    continue
                if matches == rows.size:
                    rows, grams = np.append(rows, rows), np.append(grams, grams)
                    firsts, lasts = np.append(firsts, firsts), np.append(lasts, lasts)
                before = i - length
                rows[matches], grams[matches] = document, at
                firsts[matches] = ends[before] - start if before >= 0 else 0
                lasts[matches] = ends[i] - start
                matches += 1
    return rows[:matches], grams[:matches], firsts[:matches], lasts[:matches]
