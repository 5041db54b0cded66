"""The word pass over one document: where words are, their hashes, and what the word rules count."""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.kernels.classes import ALPHA, PUNCTUATION, SENTENCE_END, SPACE, SYMBOL
from pipelines.kernels.scratch import LONGEST_CHUNK
from pipelines.kernels.utf8 import SEED, STEP, class_at, find, finish
from pipelines.kernels.words import split_chunk

# bits of a word's flags
HAS_ALPHA, HAS_NON_SYMBOL, ALL_PUNCTUATION, ENDS_SENTENCE = 1, 2, 4, 8
# places in totals
WORDS, NON_SYMBOL_WORDS, NON_SYMBOL_CHARS, ALPHA_WORDS, STOP_BITS = 0, 1, 2, 3, 4


@njit
def chunk_end(data, i, end, words):
    """Return where the run without white space that starts at byte i ends (or is cut, if it is very long)."""
    limit = min(end, i + LONGEST_CHUNK - 4)
    while i < limit:
        c, size = class_at(data, i, words.pages, words.classes)
        if c & SPACE:
            break
        i += size
    return i


@njit
def word_flags(data, a, b, words):
    """Return the flags of the word at bytes a to b."""
    flags, chars, c = ALL_PUNCTUATION, 0, np.uint32(0)
    while a < b:
        c, size = class_at(data, a, words.pages, words.classes)
        if c & ALPHA:
            flags |= HAS_ALPHA
        if not c & SYMBOL:
            flags |= HAS_NON_SYMBOL
        if not c & PUNCTUATION:
            flags &= ~ALL_PUNCTUATION
        chars += 1
        a += size
    return flags | ENDS_SENTENCE if chars == 1 and c & SENTENCE_END else flags


@njit
def scan_words(data, begin, end, origin, words, s):
    """Find the words of bytes begin to end; word bytes are kept relative to `origin`, counts in `s.totals`."""
    s.totals[:8] = 0
    i = begin
    while i < end:
        c, size = class_at(data, i, words.pages, words.classes)
        if c & SPACE:
            i += size
            continue
        stop = chunk_end(data, i, end, words)
        n = split_chunk(data, i, stop, words, s.cuts, s.joins)
        for k in range(n):
            put_word(data, i, s.cuts[k], origin, words, s)
            i = s.cuts[k]


@njit
def put_word(data, a, b, origin, words, s):
    """Count the word at bytes a to b and keep it, if there is room."""
    h, chars = SEED, 0
    flags = ALL_PUNCTUATION
    i = a
    c = np.uint32(0)
    while i < b:
        c, size = class_at(data, i, words.pages, words.classes)
        for j in range(i, i + size):
            h = (h + np.uint64(data[j])) * STEP
        if c & ALPHA:
            flags |= HAS_ALPHA
        if not c & SYMBOL:
            flags |= HAS_NON_SYMBOL
        if not c & PUNCTUATION:
            flags &= ~ALL_PUNCTUATION
        chars += 1
        i += size
    if chars == 1 and c & SENTENCE_END:
        flags |= ENDS_SENTENCE
    h = finish(h)
    stop = find(words.stop_keys, h)
    if stop >= 0:
        s.totals[STOP_BITS] |= np.int64(words.stop_bits[stop])
    if flags & HAS_NON_SYMBOL:
        s.totals[NON_SYMBOL_WORDS] += 1
        s.totals[NON_SYMBOL_CHARS] += chars
    if flags & HAS_ALPHA:
        s.totals[ALPHA_WORDS] += 1
    n = s.totals[WORDS]
    if n < len(s.starts):
        s.starts[n] = a - origin
        s.ends[n] = b - origin
        s.hashes[n] = h
        s.chars[n] = chars
        s.flags[n] = flags
    s.totals[WORDS] = n + 1
