"""Compiled kernels of the novelty gates: token LCS by bit vectors, with two bounds that skip most pairs.

Import it inside functions only, because importing numba takes longer than planning a recipe.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SIGNATURE_WORDS = 4  # 256 parity bits a text
LEVELS = 1024  # steps in which pairs are ordered by the bound of their F
_FULL = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(cache=True)
def _popcount(x):  # pragma: no cover - compiled
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True)
def signature(tokens):
    """Return the 256 parity bits of a bag of token ids, in which bit h(token) is flipped once per occurrence.

    Two bags that differ in d tokens differ in at most d bits, so the bits give an upper bound of the overlap.
    """
    bits = np.zeros(SIGNATURE_WORDS, np.uint64)
    for token in tokens:
        h = (np.uint64(token) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        h = h >> np.uint64(56)
        bits[h >> np.uint64(6)] ^= np.uint64(1) << (h & np.uint64(63))
    return bits


@njit(cache=True)
def _masks(candidate, local, words):
    """Fill `local[token] = row + 1` and return the rows: bit i of a row is set where candidate[i] is its token."""
    rows = np.zeros((candidate.size, words), np.uint64)
    used = 0
    for i in range(candidate.size):
        token = candidate[i]
        if local[token] == 0:
            used += 1
            local[token] = used
        rows[local[token] - 1, i >> 6] |= np.uint64(1) << np.uint64(i & 63)
    return rows


@njit(cache=True)
def _lcs(text, local, rows, words, length, state):
    """Return the length of the longest common subsequence (Hyyro 2004): V = (V + (V & M)) | (V & ~M)."""
    for w in range(words):
        state[w] = _FULL
    for token in text:
        row = local[token]
        if row == 0:
            continue
        carry = np.uint64(0)
        for w in range(words):
            v = state[w]
            u = v & rows[row - 1, w]
            total = v + u
            over = np.uint64(1) if total < v else np.uint64(0)
            total2 = total + carry
            if total2 < total:
                over = np.uint64(1)
            state[w] = total2 | (v & ~u)
            carry = over
    matched = 0
    for w in range(words):
        left = length - 64 * w
        keep = _FULL if left >= 64 else (np.uint64(1) << np.uint64(left)) - np.uint64(1)
        matched += _popcount(~state[w] & keep)
    return matched


@njit(cache=True)
def f_measure(matched, length, other):
    """Return ROUGE-L F from an LCS length and two text lengths, in the reference's order of operations."""
    if matched == 0:
        return 0.0
    precision = matched / length
    recall = matched / other
    return 2 * precision * recall / (precision + recall)


@njit(cache=True)
def _bounds(length, bits, starts, signatures, count, bounds, histogram):
    """Bound each pair's LCS by the shorter length and by the bags' overlap; count the pairs by their F bound."""
    for k in range(count):
        other = starts[k + 1] - starts[k]
        both = length + other
        differing = 0
        for w in range(SIGNATURE_WORDS):
            differing += _popcount(bits[w] ^ signatures[k, w])
        bound = min(length, other, (both - differing) >> 1)
        bounds[k] = (2 * bound * (LEVELS - 1)) // max(both, 1)
        histogram[bounds[k]] += 1


@njit(cache=True)
def nearest(candidate, bits, tokens, starts, signatures, count, local, skip):
    """Return (index, F, pairs compared) of the stored text most similar to `candidate`; the first among equals.

    tokens int32 flat, text k at starts[k]:starts[k + 1]; signatures (count, 4) uint64; local int32 zeros, one per
    token of the vocabulary, left as zeros; text `skip` is left out. Pairs are compared in descending order of their
    bound, until the bound is below the best F.
    """
    length = candidate.size
    words = max(1, (length + 63) >> 6)
    bounds = np.empty(count, np.int32)
    histogram = np.zeros(LEVELS, np.int64)
    _bounds(length, bits, starts, signatures, count, bounds, histogram)
    place = np.zeros(LEVELS, np.int64)  # start of each level in `order`, the highest first
    total = 0
    for level in range(LEVELS - 1, -1, -1):
        place[level] = total
        total += histogram[level]
    order = np.empty(count, np.int64)
    for k in range(count):
        order[place[bounds[k]]] = k
        place[bounds[k]] += 1
    rows = _masks(candidate, local, words)
    state = np.empty(words, np.uint64)
    best_index, best_f, compared = -1, -1.0, 0
    for k in order:
        if (bounds[k] + 1) < best_f * (LEVELS - 1):  # F <= 2 bound / (m + n) < (level + 1) / (LEVELS - 1)
            break
        if k == skip:
            continue
        compared += 1
        matched = _lcs(tokens[starts[k] : starts[k + 1]], local, rows, words, length, state)
        f = f_measure(matched, length, starts[k + 1] - starts[k])
        if f > best_f or (f == best_f and k < best_index):
            best_index, best_f = k, f
    for token in candidate:
        local[token] = 0
    return best_index, max(best_f, 0.0), compared


@njit(cache=True)
def shingle_minhash(data, width, multipliers, offsets):
    """Return the MinHash signature (uint32 per permutation) of the byte `width`-grams of `data`.

    A permutation is h -> (a h + b) >> 32 on 64 bits, with odd a. A text shorter than `width` is one shingle.
    """
    result = np.full(multipliers.size, np.uint32(0xFFFFFFFF))
    last = max(1, data.size - width + 1)
    for start in range(last):
        h = np.uint64(0xCBF29CE484222325)
        for i in range(start, min(start + width, data.size)):
            h = (h ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
        h ^= h >> np.uint64(29)
        for p in range(multipliers.size):
            value = np.uint32((h * multipliers[p] + offsets[p]) >> np.uint64(32))
            if value < result[p]:
                result[p] = value
    return result
