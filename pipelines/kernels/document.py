"""The pass over one document: words and their hashes, white space, lines, all in one walk over its bytes."""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.kernels import state as st
from pipelines.kernels.c4_lines import javascript_in, phrase_at
from pipelines.kernels.classes import (
    BRACE,
    BRACKET,
    BREAK,
    CASED_LOWER,
    COUNTED,
    EASY_END,
    LETTER_J,
    SENTENCE_END,
    SPACE,
    STARTER,
)
from pipelines.kernels.lines import (
    DUPLICATE_PARAGRAPH_CHARS,
    DUPLICATE_PARAGRAPHS,
    DUPLICATE_RUNS,
    PARAGRAPHS,
    RUNS,
    close_paragraph,
    count_paragraphs,
    end_line,
    end_split_line,
    start_split_line,
)
from pipelines.kernels.scratch import LONGEST_CHUNK
from pipelines.kernels.sentences import word_flags
from pipelines.kernels.tables import ASCII, STOP, STOP_MASK
from pipelines.kernels.utf8 import SEED, STEP, ZERO, class_at, find, finish, hash_bytes, special_of, wide_class
from pipelines.kernels.words import split_chunk

UNSTEP = np.uint64(pow(0x5851F42D4C957F2D, -1, 1 << 64))  # takes the last byte off a hash again
LONGEST_STOP_WORD = 4
FLUSH = 1 << 15  # bytes after which the four 16-bit counters are emptied: with one run more they still fit
COUNTER = np.uint64(0xFFFF)
ANY_PHRASE = BRACE | BRACKET | LETTER_J


@njit(inline="always")
def read_chunk(data, i, limit, table):
    """Return (end, hash, four counts, union of classes, last class, continuation bytes) of the run from byte i on."""
    h = SEED
    counts = union = c = ZERO
    wide = 0
    while i < limit:
        byte = data[i]
        if byte < 0x80:
            d = table[ASCII + np.int64(byte)]
            if d & SPACE:
                break
            h = (h + np.uint64(byte)) * STEP
            i += 1
        else:
            d, size = wide_class(data, i, table)
            if d & SPACE:
                break
            for j in range(i, i + size):
                h = (h + np.uint64(data[j])) * STEP
            i += size
            wide += size - 1
        c = d
        counts += c & COUNTED
        union |= c
    return i, h, counts, union, c, wide


@njit(inline="always")
def note_chunk(data, start, end, chars, union, table, state):
    """Tell the line that a run of `chars` characters stands in it."""
    state[st.LINE_CHUNKS] += 1
    state[st.PIECES] += 1
    if state[st.FIRST_BYTE] < 0:
        state[st.FIRST_BYTE] = start
    state[st.LAST_BYTE] = end
    state[st.LONGEST] = max(state[st.LONGEST], chars)
    if union & ANY_PHRASE:
        flags = (st.HAS_CURLY if union & BRACE else 0) | (st.HAS_BRACKET if union & BRACKET else 0)
        if union & LETTER_J:
            flags |= javascript_in(data, start, end)
        state[st.LINE_FLAGS] |= flags
    if data[start] < 0x80 and table[ASCII + np.int64(data[start])] & STARTER:
        state[st.LINE_FLAGS] |= phrase_at(data, start, state[st.FIRST_BYTE], end)


@njit(inline="always")
def put_letters(h, chars, n, hashes, lengths, keys, state):
    """Take a word of ASCII letters: a sentence that had ended is over, the next begins."""
    if n < len(hashes):
        hashes[n] = h
        lengths[n] = chars
    if chars <= LONGEST_STOP_WORD:
        state[st.STOP_BITS] |= np.int64(find(keys, STOP, STOP_MASK, h))
    state[st.SENTENCES] += state[st.ENDED]
    state[st.ENDED] = 0
    state[st.ALPHA_WORDS] += 1
    state[st.NON_SYMBOL_WORDS] += 1
    state[st.NON_SYMBOL_CHARS] += chars


@njit(inline="always")
def put_mark(data, i, c, n, hashes, lengths, state):
    """Take one ASCII punctuation mark as a word."""
    if n < len(hashes):
        hashes[n] = finish((SEED + np.uint64(data[i])) * STEP)
        lengths[n] = 1
    if c & SENTENCE_END:
        state[st.ENDED] = 1


@njit
def put_word(data, a, b, n, hashes, lengths, table, keys, state):
    """Take any word."""
    flags, chars = word_flags(data, a, b, table)
    h = hash_bytes(data, a, b)
    if n < len(hashes):
        hashes[n] = h
        lengths[n] = chars
    if chars <= LONGEST_STOP_WORD:
        state[st.STOP_BITS] |= np.int64(find(keys, STOP, STOP_MASK, h))
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
def ellipses(data, a, b):
    """Return how many "..." (not overlapping) and "…" bytes a to b hold."""
    count, run = 0, 0
    for i in range(a, b):
        if data[i] == 0x2E:
            run += 1
            if run == 3:
                count, run = count + 1, 0
            continue
        run = 0
        count += data[i] == 0xE2 and data[i + 1] == 0x80 and data[i + 2] == 0xA6
    return count


@njit
def put_pieces(data, a, b, origin, n, spans, span_end, hashes, lengths, cuts, table, keys, state):
    """Take the words of the run at bytes a to b, by the word rule or from the given spans; return the next number."""
    state[st.ELLIPSES] += ellipses(data, a, b)
    if span_end >= 0:
        while state[st.SPAN] < span_end and spans[state[st.SPAN], 0] < b - origin:
            k = state[st.SPAN]
            put_word(data, origin + spans[k, 0], origin + spans[k, 1], n, hashes, lengths, table, keys, state)
            state[st.SPAN] = k + 1
            n += 1
        return n
    count = split_chunk(data, a, b, table, keys, cuts)
    for k in range(count):
        put_word(data, a, cuts[k], n, hashes, lengths, table, keys, state)
        a = cuts[k]
        n += 1
    return n


@njit(inline="always")
def put_chunk(data, a, b, origin, h, letters, c, n, spans, span_end, hashes, lengths, cuts, table, keys, state):
    """Take the words of the run at bytes a to b; a word of letters, alone or before a mark, needs no rules."""
    size = b - a
    if span_end < 0:
        if letters == size:
            h = finish(h)
            if not special_of(keys, h):
                put_letters(h, size, n, hashes, lengths, keys, state)
                return n + 1
        elif letters == size - 1 and c & EASY_END:
            h = finish(h * UNSTEP - np.uint64(data[b - 1]))
            if size > 1 and not special_of(keys, h):
                put_letters(h, size - 1, n, hashes, lengths, keys, state)
                put_mark(data, b - 1, c, n + 1, hashes, lengths, state)
                return n + 2
        elif letters == size - 1 and data[b - 1] == 0x2E and size > 1 and table[ASCII + data[b - 2]] & CASED_LOWER:
            if not special_of(keys, finish(h)):
                h = finish(h * UNSTEP - np.uint64(0x2E))
                if not special_of(keys, h):
                    put_letters(h, size - 1, n, hashes, lengths, keys, state)
                    put_mark(data, b - 1, c, n + 1, hashes, lengths, state)
                    return n + 2
    return put_pieces(data, a, b, origin, n, spans, span_end, hashes, lengths, cuts, table, keys, state)


@njit
def end_paragraph_line(size, chars, h, paragraph, held, mask, state, out):
    """Add a line to its paragraph, or end the paragraph if the line is empty; return the paragraph's hash so far."""
    if size:
        state[st.PARAGRAPH_CHARS] += chars + state[st.PARAGRAPH_OPEN]
        state[st.PARAGRAPH_OPEN] = 1
        return (paragraph ^ h) * STEP
    if state[st.PARAGRAPH_OPEN]:
        close_paragraph(paragraph, state[st.PARAGRAPH_CHARS], held, mask, out)
        state[st.PARAGRAPH_CHARS] = state[st.PARAGRAPH_OPEN] = 0
    return SEED


@njit
def white_space(data, run, i, a, b, h, paragraph, table, keys, cuts, held, mask, state, rules, out):
    """Step over white space from byte i on, ending lines; the run began at byte `run`. Return (byte, line, paragraph)."""
    while i < b:
        c, size = class_at(data, i, table)
        if not c & SPACE:
            break
        state[st.SPACES] += 1
        if c & BREAK:
            if not (data[i] == 0x0A and i > a and data[i - 1] == 0x0D):  # \\r\\n is one break
                end_split_line(data, i, table, keys, cuts, state, rules, out)
            state[st.SPLIT_START] = i + size
            if data[i] == 0x0A:
                length, chars = end_line(data, i, h, table, held, mask, state, rules, out)
                paragraph = end_paragraph_line(length, chars, h, paragraph, held, mask, state, out)
                h = SEED
                i += 1
                continue
        for j in range(i, i + size):
            h = (h + np.uint64(data[j])) * STEP
        state[st.CONTINUATION] += size - 1
        i += size
    if i - run > 1 or (i - run == 1 and data[run] != 0x20):
        state[st.SENTENCES] += state[st.ENDED]
        state[st.ENDED] = 0
    return i, h, paragraph


@njit
def finish_lines(data, a, b, h, paragraph, table, keys, cuts, held, mask, state, rules, out):
    """End the last line and paragraph, and count what the splits leave at both ends."""
    if state[st.SPLIT_START] < b:
        end_split_line(data, b, table, keys, cuts, state, rules, out)
    length, chars = end_line(data, b, h, table, held, mask, state, rules, out)
    paragraph = end_paragraph_line(length, chars, h, paragraph, held, mask, state, out)
    end_paragraph_line(0, 0, h, paragraph, held, mask, state, out)
    starts = a == b or data[a] == 0x0A
    ends = b > a and data[b - 1] == 0x0A
    out[RUNS] += starts + ends
    out[DUPLICATE_RUNS] += starts and ends
    first, last = max(state[st.FIRST_CHUNK], a), state[st.LAST_CHUNK]
    clean = state[st.FIRST_CHUNK] >= 0
    for i in range(a, first):
        clean &= data[i] == 0x0A
    for i in range(last, b):
        clean &= data[i] == 0x0A
    if not clean:  # the text is stripped before it is split into paragraphs
        size = np.int64(mask) + 1
        held[size : 2 * size] = ZERO
        out[PARAGRAPHS] = out[DUPLICATE_PARAGRAPHS] = out[DUPLICATE_PARAGRAPH_CHARS] = 0
        count_paragraphs(data, a, b, table, held, mask, out)


@njit
def scan_document(data, a, b, spans, span, span_end, table, keys, rules, hashes, lengths, cuts, held, mask, state, out):
    """Walk over the document at bytes a to b; fill state, line columns of `out`, word hashes and lengths; return words."""
    state[:] = 0
    state[st.SPAN] = span
    state[st.LINE_START] = state[st.SPLIT_START] = a
    state[st.FIRST_CHUNK] = -1
    start_split_line(state)
    held[: 2 * (np.int64(mask) + 1)] = ZERO
    h = paragraph = SEED
    counts, counted, n, i = ZERO, 0, 0, a
    while i < b:
        run = i
        if data[i] == 0x20:
            h = (h + np.uint64(0x20)) * STEP
            state[st.SPACES] += 1
            i += 1
        if i < b and (data[i] >= 0x80 or table[ASCII + np.int64(data[i])] & SPACE):
            i, h, paragraph = white_space(
                data, run, i, a, b, h, paragraph, table, keys, cuts, held, mask, state, rules, out
            )
        if i >= b:
            break
        start = i
        i, chunk, found, union, c, wide = read_chunk(data, i, min(b, i + LONGEST_CHUNK - 4), table)
        h = (h ^ chunk) * STEP
        state[st.CONTINUATION] += wide
        note_chunk(data, start, i, i - start - wide, union, table, state)
        if state[st.FIRST_CHUNK] < 0:
            state[st.FIRST_CHUNK] = start
        state[st.LAST_CHUNK] = i
        letters = np.int64(found & COUNTER)
        n = put_chunk(
            data, start, i, a, chunk, letters, c, n, spans, span_end, hashes, lengths, cuts, table, keys, state
        )
        counts += found
        counted += i - start
        if counted >= FLUSH:
            flush(counts, state)
            counts, counted = ZERO, 0
    flush(counts, state)
    finish_lines(data, a, b, h, paragraph, table, keys, cuts, held, mask, state, rules, out)
    return n


@njit
def flush(counts, state):
    """Add four 16-bit counters to the state."""
    state[st.LETTERS] += np.int64(counts & COUNTER)
    state[st.UPPERS] += np.int64(counts >> np.uint64(16) & COUNTER)
    state[st.DIGITS] += np.int64(counts >> np.uint64(32) & COUNTER)
    state[st.SYMBOLS] += np.int64(counts >> np.uint64(48))
