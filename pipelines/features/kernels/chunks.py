"""Runs without white space: letters are read eight bytes at a time, words are added to the document's lists."""

from __future__ import annotations

import numpy as np
from numba import njit

from windtunnel.pipelines.features.kernels import state as st
from windtunnel.pipelines.features.kernels.classes import CASED_LOWER, COUNTED, EASY_END, SENTENCE_END, SPACE, UNSPACED
from windtunnel.pipelines.features.kernels.memory import eight_bytes, set_bits, trailing_zeros
from windtunnel.pipelines.features.kernels.sentences import split_run, word_flags
from windtunnel.pipelines.features.kernels.tables import ASCII, LONGEST_STOP, STOP, STOP_MASK
from windtunnel.pipelines.features.kernels.unspaced import document_language
from windtunnel.pipelines.features.kernels.utf8 import ZERO, find, hash_bytes, special_of, wide_class
from windtunnel.pipelines.features.kernels.words import split_chunk

LONGEST_LETTERS_SPECIAL = 12  # bytes
# for eight bytes below 0x80 at once: x + (0x80 - c) sets the high bit of each byte that is at least c
HIGH = np.uint64(0x8080808080808080)
LOW7 = np.uint64(0x7F7F7F7F7F7F7F7F)
CASE = np.uint64(0x2020202020202020)
FROM_A = np.uint64(0x1F1F1F1F1F1F1F1F)  # 0x80 - "a"
PAST_Z = np.uint64(0x0505050505050505)  # 0x80 - "{"


@njit
def letters_from(text, i, limit):
    """Return (end, capitals) of the run of ASCII letters that starts at byte i."""
    capitals = 0
    while i < limit:
        block = eight_bytes(text, i)
        lower = (block | CASE) & LOW7
        letters = (lower + FROM_A) & ~(lower + PAST_Z) & ~block & HIGH
        count = min(trailing_zeros(letters ^ HIGH) >> 3, limit - i)
        upper = letters & ~(block << np.uint64(2))
        if count < 8:
            upper &= (np.uint64(1) << np.uint64(8 * count)) - np.uint64(1)
        capitals += set_bits(upper)
        i += count
        if count < 8:
            break
    return i, capitals


@njit
def rest_of_chunk(text, i, limit, table):
    """Return (end, four counts, union of classes, continuation bytes) of the run from byte i to white space."""
    counts = union = ZERO
    wide = 0
    while i < limit:
        byte = text[i]
        if byte < 0x80:
            c = table[ASCII + np.int64(byte)]
            size = 1
        else:
            c, size = wide_class(text, i, table)
        if c & SPACE:
            break
        i += size
        wide += size - 1
        counts += c & COUNTED
        union |= c
    return i, counts, union, wide


@njit
def put_letters(text, a, b, h, n, hashes, lengths, table, state):
    """Add a word of ASCII letters, which begins a new sentence if one has ended."""
    hashes[n] = h
    lengths[n] = b - a
    if b - a <= np.int64(table[LONGEST_STOP]):
        state[st.STOP_BITS] |= find(table, STOP, STOP_MASK, h)
    state[st.SENTENCES] += state[st.ENDED]
    state[st.ENDED] = 0
    state[st.LETTER_WORDS] += 1
    state[st.LETTER_WORD_CHARS] += b - a


@njit
def put_word(text, a, b, n, hashes, lengths, table, state):
    """Add a word of any kind."""
    flags, chars = word_flags(text, a, b, table)
    h = hash_bytes(text, a, b)
    hashes[n] = h
    lengths[n] = chars
    if chars <= np.int64(table[LONGEST_STOP]):
        state[st.STOP_BITS] |= find(table, STOP, STOP_MASK, h)
    if flags & st.ENDS_SENTENCE:
        state[st.ENDED] = 1
    elif state[st.ENDED] and not flags & st.ALL_PUNCTUATION:
        state[st.SENTENCES] += 1
        state[st.ENDED] = 0
    if flags & st.HAS_NON_SYMBOL:
        state[st.NON_SYMBOL_WORDS] += 1
        state[st.NON_SYMBOL_CHARS] += chars
    if flags & st.HAS_ALPHA:
        state[st.ALPHA_WORDS] += 1


@njit
def put_easy(text, a, end, b, c, h, n, hashes, lengths, table, state):
    """Add letters at bytes a to `end`, alone or before one mark of class c that ends at b; return the next number.

    Returns the same number if the word rule must decide: for exceptions, and for marks that may belong to the word.
    """
    if end == a:
        return n
    if end < b:
        stop = text[end] == 0x2E and table[ASCII + np.int64(text[end - 1])] & CASED_LOWER
        if not (c & EASY_END or (stop and not special_of(table, hash_bytes(text, a, b)))):
            return n
    if end - a <= LONGEST_LETTERS_SPECIAL and special_of(table, h):
        return n
    put_letters(text, a, end, h, n, hashes, lengths, table, state)
    if end == b:
        return n + 1
    hashes[n + 1] = hash_bytes(text, end, b)
    lengths[n + 1] = 1
    if c & SENTENCE_END:
        state[st.ENDED] = 1
    return n + 2


@njit
def ellipses(text, a, b):
    """Return the number of "..." (not overlapping) and "…" in bytes a to b."""
    count, run = 0, 0
    for i in range(a, b):
        if text[i] == 0x2E:
            run += 1
            if run == 3:
                count, run = count + 1, 0
            continue
        run = 0
        count += text[i] == 0xE2 and text[i + 1] == 0x80 and text[i + 2] == 0xA6
    return count


@njit
def put_by_rules(text, a, b, union, n, most, hashes, lengths, table, cuts, state):
    """Add the words of the run at bytes a to b by the word rule; return the next number (at most `most`)."""
    if union == table[ASCII + 0x30]:  # digits only
        put_word(text, a, b, min(n, most), hashes, lengths, table, state)
        return n + 1
    if union & UNSPACED:
        return _put_unspaced(text, a, b, n, most, hashes, lengths, table, cuts, state)
    count = split_chunk(text, a, b, table, cuts)
    for k in range(count):
        put_word(text, a, np.int64(cuts[k]), min(n + k, most), hashes, lengths, table, state)
        a = np.int64(cuts[k])
    return n + count


@njit
def _put_unspaced(text, a, b, n, most, hashes, lengths, table, cuts, state):
    """Add the words of a run that contains a script without spaces."""
    if state[st.RUN_LANGUAGE] == 0:
        start, end = state[st.DOCUMENT_START], state[st.DOCUMENT_END]
        state[st.RUN_LANGUAGE] = 1 + document_language(text, start, end, table)
    while a < b:
        _, count = split_run(text, a, b, state[st.RUN_LANGUAGE] - 1, table, cuts)
        for k in range(count):
            put_word(text, a, np.int64(cuts[k]), min(n, most), hashes, lengths, table, state)
            a = np.int64(cuts[k])
            n += 1
    return n


@njit
def put_given(text, b, origin, spans, span_end, n, most, hashes, lengths, table, state):
    """Add the given words up to byte b; return the next number."""
    k = state[st.SPAN]
    while k < span_end and spans[2 * k] < b - origin:
        a, end = origin + spans[2 * k], origin + spans[2 * k + 1]
        put_word(text, a, end, min(n, most), hashes, lengths, table, state)
        k += 1
        n += 1
    state[st.SPAN] = k
    return n
