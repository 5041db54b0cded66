"""Numba kernels: sets of word n-grams of documents, and an exact similarity join with a small set of documents.

The join uses prefix filtering (Bayardo et al. 2007): a document with Jaccard similarity of at least t to A contains one
of the |A| - ceil(t |A|) + 1 rarest n-grams of A. Indexing only those is exact and ignores frequent boilerplate.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

from windtunnel.pipelines.features.kernels.folded_words import MULTIPLIER, mix, room, words_of
from windtunnel.pipelines.features.kernels.minhash import power


@njit(cache=True, nogil=True)
def shingles_into(data, start, end, folds, expansions, ngram, top, words, ends, out):
    """Write the 64-bit hashes of a document's n-grams into `out`, in order and with repetitions; return their number.

    A document with fewer words than `ngram` is one n-gram. The scratch arrays have `room(end - start)` entries.
    """
    count = words_of(data, start, end, folds, expansions, words, ends)
    if count == 0:
        return 0
    rolled = uint64(0)
    for i in range(min(count, ngram)):
        rolled = rolled * MULTIPLIER + words[i]
    if count < ngram:
        out[0] = mix(rolled ^ uint64(count))
        return 1
    out[0] = mix(rolled)
    for i in range(ngram, count):
        rolled = rolled * MULTIPLIER + words[i] - words[i - ngram] * top
        out[i - ngram + 1] = mix(rolled)
    return count - ngram + 1


@njit(cache=True, nogil=True)
def sort_unique(values, count):
    """Sort values[:count] in place and move the distinct values to the front; return their number."""
    if count == 0:
        return 0
    values[:count].sort()
    kept = 1
    for i in range(1, count):
        if values[i] != values[kept - 1]:
            values[kept] = values[i]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def shingle_sets(data, offsets, folds, expansions, ngram):
    """Return (concatenated sorted sets u64, offsets i64[documents + 1])."""
    longest = 0
    for document in range(offsets.size - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    words, ends = np.empty(room(longest), np.uint64), np.empty(room(longest), np.int64)
    scratch = np.empty(room(longest), np.uint64)
    starts = np.zeros(offsets.size, np.int64)
    held = np.empty(max(1024, (offsets[-1] - offsets[0]) // 4), np.uint64)
    top = power(ngram)
    for document in range(offsets.size - 1):
        at, end = offsets[document], offsets[document + 1]
        count = shingles_into(data, at, end, folds, expansions, ngram, top, words, ends, scratch)
        count = sort_unique(scratch, count)
        filled = starts[document]
        if filled + count > held.size:
            grown = np.empty(2 * (filled + count), np.uint64)
            grown[:filled] = held[:filled]
            held = grown
        held[filled : filled + count] = scratch[:count]
        starts[document + 1] = filled + count
    return held[: starts[-1]].copy(), starts


@njit(cache=True, nogil=True)
def build_table(tokens):
    """Return an open-addressing table (i64 positions, -1 if empty) of distinct tokens, with a power of two of slots."""
    size = 8
    while size < 2 * tokens.size:
        size *= 2
    table = np.full(size, -1, np.int64)
    for i in range(tokens.size):
        slot = np.int64(tokens[i] & uint64(size - 1))
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = i
    return table


@njit(cache=True, nogil=True)
def find_token(token, table, tokens):
    """Return the position of a token, or -1."""
    slot = np.int64(token & uint64(table.size - 1))
    while table[slot] >= 0:
        if tokens[table[slot]] == token:
            return table[slot]
        slot = (slot + 1) & (table.size - 1)
    return np.int64(-1)


@njit(cache=True, nogil=True)
def jaccard(a, b):
    """Return the Jaccard similarity of two sorted sets."""
    i, j, shared = 0, 0, 0
    while i < a.size and j < b.size:
        if a[i] == b[j]:
            shared += 1
            i += 1
            j += 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return shared / (a.size + b.size - shared)


@njit(cache=True, nogil=True)
def nearest_of(query, sets, starts, open_to, table, tokens, posting_starts, postings, threshold, seen, stamp):
    """Return (document, similarity) of the most similar indexed document with `open_to`, or (-1, 0.0).

    `query` is a sorted set; `seen` (i64[documents]) equals `stamp` for documents already compared.
    """
    best, best_similarity = -1, 0.0
    for i in range(query.size):
        at = find_token(query[i], table, tokens)
        if at < 0:
            continue
        for p in range(posting_starts[at], posting_starts[at + 1]):
            document = postings[p]
            if seen[document] == stamp or not open_to[document]:
                continue
            seen[document] = stamp
            candidate = sets[starts[document] : starts[document + 1]]
            if min(candidate.size, query.size) < threshold * max(candidate.size, query.size):
                continue
            similarity = jaccard(query, candidate)
            if similarity >= threshold and (
                similarity > best_similarity or (similarity == best_similarity and document < best)
            ):
                best, best_similarity = document, similarity
    return best, best_similarity


@njit(cache=True, nogil=True)
def match_texts(
    data, offsets, alive, folds, expansions, ngram, sets, starts, table, tokens, posting_starts, postings, threshold
):
    """Return (i64 nearest indexed document or -1, f64 similarity) of each document with `alive` of a batch."""
    documents = offsets.size - 1
    nearest, similarity = np.full(documents, -1, np.int64), np.zeros(documents, np.float64)
    open_to, seen = np.ones(starts.size - 1, np.bool_), np.full(starts.size - 1, -1, np.int64)
    words, ends, shingles = np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.uint64)
    top = power(ngram)
    for document in range(documents):
        at, end = offsets[document], offsets[document + 1]
        if not alive[document]:
            continue
        if words.size < room(end - at):
            words, ends = np.empty(room(end - at), np.uint64), np.empty(room(end - at), np.int64)
            shingles = np.empty(room(end - at), np.uint64)
        count = shingles_into(data, at, end, folds, expansions, ngram, top, words, ends, shingles)
        hit = False
        for i in range(count):
            if find_token(shingles[i], table, tokens) >= 0:
                hit = True
                break
        if hit:
            count = sort_unique(shingles, count)
            nearest[document], similarity[document] = nearest_of(
                shingles[:count],
                sets,
                starts,
                open_to,
                table,
                tokens,
                posting_starts,
                postings,
                threshold,
                seen,
                document,
            )
    return nearest, similarity


@njit(cache=True, nogil=True)
def thin_out(sets, starts, table, tokens, posting_starts, postings, threshold):
    """Return (i64: -1 for a kept document, else the earlier kept document similar to it; f64 similarity)."""
    documents = starts.size - 1
    near, similarity = np.full(documents, -1, np.int64), np.zeros(documents, np.float64)
    staying, seen = np.zeros(documents, np.bool_), np.full(documents, -1, np.int64)
    for document in range(documents):
        query = sets[starts[document] : starts[document + 1]]
        near[document], similarity[document] = nearest_of(
            query, sets, starts, staying, table, tokens, posting_starts, postings, threshold, seen, document
        )
        staying[document] = near[document] < 0
    return near, similarity
