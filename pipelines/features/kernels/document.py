"""The pass over the bytes of one document that finds words and their hashes, white space and lines."""

from __future__ import annotations

import numpy as np
from numba import njit

from windtunnel.pipelines.features.kernels import state as st
from windtunnel.pipelines.features.kernels.c4_lines import javascript_in, phrase_at
from windtunnel.pipelines.features.kernels.chunks import (
    ellipses,
    letters_from,
    put_by_rules,
    put_easy,
    put_given,
    rest_of_chunk,
)
from windtunnel.pipelines.features.kernels.classes import BRACE, BRACKET, BREAK, DOTTED, SPACE, STARTER, UNSPACED
from windtunnel.pipelines.features.kernels.lines import end_line, end_split_line, finish_lines, start_split_line
from windtunnel.pipelines.features.kernels.scratch import LONGEST_CHUNK
from windtunnel.pipelines.features.kernels.tables import ASCII
from windtunnel.pipelines.features.kernels.utf8 import SEED, STEP, ZERO, class_at, hash_bytes

JAVASCRIPT_CHARS = 10
COUNTER = np.uint64(0xFFFF)


@njit
def white_space(text, run, i, a, b, h, paragraph, table, cuts, line, held, mask, state):
    """Skip white space from byte i on, ending lines; the run began at byte `run`.

    Returns (next byte, hash of the line so far, hash of the paragraph so far).
    """
    while i < b:
        c, size = class_at(text, i, table)
        if not c & SPACE:
            break
        state[st.SPACES] += 1
        if c & BREAK:
            if not (
                text[i] == 0x0A and i > a and text[i - 1] == 0x0D
            ):  # carriage return and newline are a single break
                end_split_line(text, i, table, cuts, line, state)
            state[st.SPLIT_START] = i + size
            if text[i] == 0x0A:
                paragraph = end_line(text, i, h, paragraph, table, held, mask, state)
                h = SEED
                i += 1
                continue
        for j in range(i, i + size):
            h = (h + np.uint64(text[j])) * STEP
        state[st.CONTINUATION] += size - 1
        i += size
    if i - run > 1 or (i - run == 1 and text[run] != 0x20):
        state[st.SENTENCES] += state[st.ENDED]
        state[st.ENDED] = 0
    return i, h, paragraph


@njit
def note_chunk(text, start, letters_end, end, chars, union, table, state):
    """Add a run of `chars` characters to the current line; `union`: classes of its characters after the letters."""
    if state[st.FIRST_BYTE] < 0:
        state[st.FIRST_BYTE] = start
        if state[st.FIRST_CHUNK] < 0:
            state[st.FIRST_CHUNK] = start
    state[st.LAST_BYTE] = state[st.LAST_CHUNK] = end
    state[st.LINE_CHUNKS] += 1
    state[st.PIECES] += 1
    state[st.LONGEST] = max(state[st.LONGEST], chars)
    flags = 0
    if union & (BRACE | BRACKET):
        flags = (st.HAS_CURLY if union & BRACE else 0) | (st.HAS_BRACKET if union & BRACKET else 0)
    if chars >= JAVASCRIPT_CHARS:
        flags |= javascript_in(text, start, end)
    if letters_end - start > 2 and table[ASCII + np.int64(text[start])] & STARTER:
        flags |= phrase_at(text, start, state[st.FIRST_BYTE], end)
    if flags:
        state[st.LINE_FLAGS] |= flags


@njit
def longest_of(lengths, first, last):
    """Return the characters of the longest of the words from `first` on."""
    longest = 0
    for k in range(first, last):
        longest = max(longest, np.int64(lengths[k]))
    return longest


@njit
def count_chars(counts, letters, capitals, state):
    """Add four 16-bit counters, and the letters read eight at a time, to the state."""
    state[st.LETTERS] += letters + np.int64(counts & COUNTER)
    state[st.UPPERS] += capitals + np.int64(counts >> np.uint64(16) & COUNTER)
    if counts:
        state[st.DIGITS] += np.int64(counts >> np.uint64(32) & COUNTER)
        state[st.SYMBOLS] += np.int64(counts >> np.uint64(48))


@njit
def start_document(a, b, span, held, mask, state):
    """Reset the state, the document's columns and the sets of lines."""
    for i in range(st.RULES):
        state[i] = 0
    for i in range(st.OUT, st.STATE_SIZE):
        state[i] = 0
    state[st.SPAN] = span
    state[st.DOCUMENT_START], state[st.DOCUMENT_END] = a, b
    state[st.LINE_START] = state[st.SPLIT_START] = state[st.LAST_CHUNK] = a
    state[st.FIRST_CHUNK] = -1
    start_split_line(state)
    for i in range(2 * (np.int64(mask) + 1)):
        held[i] = ZERO


@njit
def scan_document(text, a, b, spans, span, span_end, table, hashes, lengths, most, cuts, line, held, mask, state):
    """Process the document at bytes a to b; return its number of words.

    Fills the state, the line columns, and the hash and length of every word; words beyond `most` overwrite each other
    in the two entries after it. With span_end >= 0 the word spans are given.
    """
    start_document(a, b, span, held, mask, state)
    h = paragraph = SEED
    n, i = 0, a
    while i < b:
        run = i
        if text[i] == 0x20:
            h = (h + np.uint64(0x20)) * STEP
            state[st.SPACES] += 1
            i += 1
        if i < b and (text[i] >= 0x80 or table[ASCII + np.int64(text[i])] & SPACE):
            i, h, paragraph = white_space(text, run, i, a, b, h, paragraph, table, cuts, line, held, mask, state)
        if i >= b:
            break
        start, limit = i, min(b, i + LONGEST_CHUNK - 4)
        letters_end, capitals = letters_from(text, i, limit)
        i, counts, union, wide = rest_of_chunk(text, letters_end, limit, table)
        count_chars(counts, letters_end - start, capitals, state)
        state[st.CONTINUATION] += wide
        longest = state[st.LONGEST]
        note_chunk(text, start, letters_end, i, i - start - wide, union, table, state)
        chunk = hash_bytes(text, start, i)
        h = (h ^ chunk) * STEP
        if union & DOTTED and i - letters_end > 1:
            state[st.ELLIPSES] += ellipses(text, letters_end, i)
        if span_end >= 0:
            n = put_given(text, i, a, spans, span_end, n, most, hashes, lengths, table, state)
            continue
        before, seen = n, state[st.NON_SYMBOL_WORDS]
        if i - letters_end <= 1:
            word = chunk if i == letters_end else hash_bytes(text, start, letters_end)
            n = min(n, most)
            n = before + put_easy(text, start, letters_end, i, union, word, n, hashes, lengths, table, state) - n
        if n == before:
            n = put_by_rules(text, start, i, union, n, most, hashes, lengths, table, cuts, state)
            if union & UNSPACED and state[st.C4_UNSPACED]:
                state[st.PIECES] += max(0, state[st.NON_SYMBOL_WORDS] - seen - 1)
                state[st.LONGEST] = max(longest, longest_of(lengths, min(before, most), min(n, most)))
    finish_lines(text, a, b, h, paragraph, table, cuts, line, held, mask, state)
    return n
