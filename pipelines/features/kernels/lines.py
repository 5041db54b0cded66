"""Lines and paragraphs of one document: duplicates, bullets, end marks, lengths, and the outcome of C4's line rules.

The published rules split lines in three ways: at newlines (FineWeb), at runs of newlines (Gopher repetition), and as
`str.splitlines` does (Gopher quality, C4).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from windtunnel.pipelines.features.kernels import state as st
from windtunnel.pipelines.features.kernels.breaks import strip
from windtunnel.pipelines.features.kernels.c4_lines import CURLY, KEPT, LOREM, outcome_of
from windtunnel.pipelines.features.kernels.classes import TERMINAL
from windtunnel.pipelines.features.kernels.columns import INDEX
from windtunnel.pipelines.features.kernels.utf8 import ONE, SEED, STEP, ZERO, before, class_at

PARAGRAPHS = st.OUT + INDEX["paragraphs"]
DUPLICATE_PARAGRAPHS = st.OUT + INDEX["duplicate_paragraphs"]
DUPLICATE_PARAGRAPH_CHARS = st.OUT + INDEX["duplicate_paragraph_chars"]
RUNS, DUPLICATE_RUNS = st.OUT + INDEX["line_runs"], st.OUT + INDEX["duplicate_line_runs"]
DUPLICATE_RUN_CHARS = st.OUT + INDEX["duplicate_line_run_chars"]
DUPLICATE_LINE_CHARS = st.OUT + INDEX["duplicate_line_chars"]
NONBLANK, PUNCTUATED = st.OUT + INDEX["nonblank_lines"], st.OUT + INDEX["punctuated_lines"]
SHORT, LONG_PARAGRAPHS = st.OUT + INDEX["short_lines"], st.OUT + INDEX["long_paragraphs"]
LINES, BULLETS, ELLIPSIS_LINES = (st.OUT + INDEX[name] for name in ("lines", "bullet_lines", "ellipsis_lines"))
C4_LINES, C4_SENTENCES = st.OUT + INDEX["c4_lines"], st.OUT + INDEX["c4_sentences"]
C4_LOREM_IPSUM, C4_CURLY_BRACKET = st.OUT + INDEX["c4_lorem_ipsum"], st.OUT + INDEX["c4_curly_bracket"]
LONG_PARAGRAPH_CHARS = 200


@njit
def add_once(held, first, mask, h):
    """Insert h into the set in `held` from `first` on; return whether it was present."""
    h ^= h >> np.uint64(32)
    h |= ONE
    slot = (h >> ONE) & mask
    while True:
        place = first + np.int64(slot)
        if held[place] == ZERO:
            held[place] = h
            return False
        if held[place] == h:
            return True
        slot = (slot + ONE) & mask


@njit
def end_line(text, end, h, paragraph, table, held, mask, state):
    """Count the line that ends at byte `end` with a newline or the end of the text; h is the hash of its bytes.

    `held` begins with two sets of `mask + 1` slots, for lines and for paragraphs. Returns the hash of the current
    paragraph, which an empty line ends.
    """
    size = end - state[st.LINE_START]
    if size:
        chars = size - state[st.CONTINUATION] + state[st.LINE_CHARS_BEFORE]
        again = add_once(held, 0, mask, h)
        state[RUNS] += 1
        if again:
            state[DUPLICATE_RUNS] += 1
            state[DUPLICATE_RUN_CHARS] += chars
        if state[st.LINE_CHUNKS]:
            state[NONBLANK] += 1
            state[DUPLICATE_LINE_CHARS] += chars if again else 0
            state[SHORT] += chars <= state[st.SHORT_LINE_CHARS]
            c, _ = class_at(text, before(text, end), table)
            state[PUNCTUATED] += (c & TERMINAL) != ZERO
        state[LONG_PARAGRAPHS] += chars >= LONG_PARAGRAPH_CHARS
        state[st.PARAGRAPH_CHARS] += chars + state[st.PARAGRAPH_OPEN]
        state[st.PARAGRAPH_OPEN] = 1
        state[st.LINE_CHUNKS] = 0
        state[st.LINE_CHARS_BEFORE] = state[st.CONTINUATION]
        paragraph = (paragraph ^ h) * STEP
    elif state[st.PARAGRAPH_OPEN]:
        close_paragraph(paragraph, state[st.PARAGRAPH_CHARS], held, mask, state)
        state[st.PARAGRAPH_CHARS] = state[st.PARAGRAPH_OPEN] = 0
        paragraph = SEED
    state[st.LINE_START] = end + 1
    return paragraph


@njit
def close_paragraph(h, chars, held, mask, state):
    """Count a paragraph with hash h."""
    state[PARAGRAPHS] += 1
    if add_once(held, np.int64(mask) + 1, mask, h):
        state[DUPLICATE_PARAGRAPHS] += 1
        state[DUPLICATE_PARAGRAPH_CHARS] += chars


@njit
def count_paragraphs(text, a, b, table, held, mask, state):
    """Recount the paragraphs between blank lines of the text at bytes a to b, after stripping it."""
    size = np.int64(mask) + 1
    for i in range(size, 2 * size):
        held[i] = ZERO
    state[PARAGRAPHS] = state[DUPLICATE_PARAGRAPHS] = state[DUPLICATE_PARAGRAPH_CHARS] = 0
    a, b = strip(text, a, b, table)
    h, chars, i = SEED, 0, a
    while i < b:
        if text[i] == 0x0A and text[i + 1] == 0x0A:  # the stripped text does not end with a newline
            close_paragraph(h, chars, held, mask, state)
            h, chars = SEED, 0
            while text[i] == 0x0A:
                i += 1
            continue
        h = (h + np.uint64(text[i])) * STEP
        chars += (text[i] & 0xC0) != 0x80
        i += 1
    close_paragraph(h, chars, held, mask, state)


@njit
def end_split_line(text, end, table, cuts, line, state):
    """Count the line (as in str.splitlines) that ends at byte `end`, and apply C4's rules to it."""
    state[LINES] += 1
    first, last = state[st.FIRST_BYTE], state[st.LAST_BYTE]
    if first < 0:
        first, last = end, end
    else:
        state[BULLETS] += bullet(text, first, last)
        state[ELLIPSIS_LINES] += ellipsis(text, first, last)
    if not state[st.STOPPED]:
        pieces, longest, flags = state[st.PIECES], state[st.LONGEST], state[st.LINE_FLAGS]
        sentences = state[st.SENTENCES] + 1
        outcome, sentences = outcome_of(text, first, last, pieces, longest, flags, sentences, table, cuts, line, state)
        if outcome == KEPT:
            state[C4_LINES] += 1
            state[C4_SENTENCES] += sentences
        elif outcome in (LOREM, CURLY):
            state[C4_LOREM_IPSUM if outcome == LOREM else C4_CURLY_BRACKET] = 1
            state[st.STOPPED] = 1
    start_split_line(state)


@njit
def start_split_line(state):
    """Reset the state of the current line."""
    state[st.FIRST_BYTE] = -1
    state[st.PIECES] = state[st.LONGEST] = state[st.SENTENCES] = state[st.ENDED] = state[st.LINE_FLAGS] = 0


@njit
def finish_lines(text, a, b, h, paragraph, table, cuts, line, held, mask, state):
    """End the last line and paragraph, and count the empty runs at both ends of the text."""
    if state[st.SPLIT_START] < b:
        end_split_line(text, b, table, cuts, line, state)
    paragraph = end_line(text, b, h, paragraph, table, held, mask, state)
    if state[st.PARAGRAPH_OPEN]:
        close_paragraph(paragraph, state[st.PARAGRAPH_CHARS], held, mask, state)
    starts = a == b or text[a] == 0x0A
    ends = b > a and text[b - 1] == 0x0A
    state[RUNS] += starts + ends
    state[DUPLICATE_RUNS] += starts and ends
    clean = state[st.FIRST_CHUNK] >= 0
    for i in range(a, state[st.FIRST_CHUNK]):
        clean &= text[i] == 0x0A
    for i in range(state[st.LAST_CHUNK], b):
        clean &= text[i] == 0x0A
    if not clean:  # surrounding white space other than newlines is stripped before splitting into paragraphs
        count_paragraphs(text, a, b, table, held, mask, state)


@njit
def bullet(text, a, b):
    """Return whether bytes a to b begin with - or •."""
    return text[a] == 0x2D or (b - a >= 3 and text[a] == 0xE2 and text[a + 1] == 0x80 and text[a + 2] == 0xA2)


@njit
def ellipsis(text, a, b):
    """Return whether bytes a to b end with ... or …."""
    if b - a < 3:
        return False
    dots = text[b - 1] == 0x2E and text[b - 2] == 0x2E and text[b - 3] == 0x2E
    return dots or (text[b - 3] == 0xE2 and text[b - 2] == 0x80 and text[b - 1] == 0xA6)
