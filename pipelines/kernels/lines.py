"""Lines and paragraphs of one document: duplicates, bullets, ends, lengths, and the outcome of C4's line rules.

Three ways of splitting live side by side because the published rules use three: at newlines (FineWeb), at runs of
newlines (Gopher's repetition), and wherever `str.splitlines` does (Gopher's quality, C4).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.kernels import state as st
from pipelines.kernels.breaks import strip
from pipelines.kernels.c4_lines import CURLY, KEPT, LOREM, outcome_of
from pipelines.kernels.classes import TERMINAL
from pipelines.kernels.columns import INDEX
from pipelines.kernels.utf8 import ONE, SEED, STEP, ZERO, before, class_at, finish

PARAGRAPHS = INDEX["paragraphs"]
DUPLICATE_PARAGRAPHS, DUPLICATE_PARAGRAPH_CHARS = INDEX["duplicate_paragraphs"], INDEX["duplicate_paragraph_chars"]
RUNS, DUPLICATE_RUNS = INDEX["line_runs"], INDEX["duplicate_line_runs"]
DUPLICATE_RUN_CHARS, DUPLICATE_LINE_CHARS = INDEX["duplicate_line_run_chars"], INDEX["duplicate_line_chars"]
NONBLANK, PUNCTUATED, SHORT = INDEX["nonblank_lines"], INDEX["punctuated_lines"], INDEX["short_lines"]
LONG_PARAGRAPHS = INDEX["long_paragraphs"]
LINES, BULLETS, ELLIPSIS_LINES = INDEX["lines"], INDEX["bullet_lines"], INDEX["ellipsis_lines"]
C4_LINES, C4_SENTENCES = INDEX["c4_lines"], INDEX["c4_sentences"]
C4_LOREM, C4_CURLY = INDEX["c4_lorem_ipsum"], INDEX["c4_curly_bracket"]
LONG_PARAGRAPH_CHARS = 200


@njit
def add_once(held, first, mask, h):
    """Put h into the set that lies in `held` from `first` on; return whether it was there."""
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
def end_line(data, end, h, table, held, mask, state, rules, out):
    """Count the line that a newline (or the end of the text) ends at byte `end`; h is the hash of its bytes.

    `held` begins with two sets of `mask + 1` slots: one for lines, one for paragraphs.
    """
    size = end - state[st.LINE_START]
    chars = size - state[st.CONTINUATION] + state[st.LINE_CHARS_BEFORE]
    if size:
        out[RUNS] += 1
        again = add_once(held, 0, mask, finish(h))
        out[DUPLICATE_RUNS] += again
        out[DUPLICATE_RUN_CHARS] += chars if again else 0
        if state[st.LINE_CHUNKS]:
            out[NONBLANK] += 1
            out[DUPLICATE_LINE_CHARS] += chars if again else 0
            out[SHORT] += chars <= rules[st.SHORT_LINE_CHARS]
            c, _ = class_at(data, before(data, end), table)
            out[PUNCTUATED] += (c & TERMINAL) != 0
        out[LONG_PARAGRAPHS] += chars >= LONG_PARAGRAPH_CHARS
    state[st.LINE_START] = end + 1
    state[st.LINE_CHARS_BEFORE] = state[st.CONTINUATION]
    state[st.LINE_CHUNKS] = 0
    return size, chars


@njit
def close_paragraph(h, chars, held, mask, out):
    """Count a paragraph of which h is the hash."""
    out[PARAGRAPHS] += 1
    if add_once(held, np.int64(mask) + 1, mask, finish(h)):
        out[DUPLICATE_PARAGRAPHS] += 1
        out[DUPLICATE_PARAGRAPH_CHARS] += chars


@njit
def count_paragraphs(data, a, b, table, held, mask, out):
    """Count the paragraphs between blank lines of the stripped text at bytes a to b; `held` has an empty set for them."""
    a, b = strip(data, a, b, table)
    h, chars, i = SEED, 0, a
    while i < b:
        if data[i] == 0x0A and i + 1 < b and data[i + 1] == 0x0A:
            close_paragraph(h, chars, held, mask, out)
            h, chars = SEED, 0
            while data[i] == 0x0A:
                i += 1
            continue
        h = (h + np.uint64(data[i])) * STEP
        chars += (data[i] & 0xC0) != 0x80
        i += 1
    close_paragraph(h, chars, held, mask, out)


@njit
def end_split_line(data, end, table, keys, cuts, state, rules, out):
    """Count the line that ends at byte `end` as str.splitlines breaks lines, and what C4 makes of it."""
    out[LINES] += 1
    first, last = state[st.FIRST_BYTE], state[st.LAST_BYTE]
    if first < 0:
        first, last = end, end
    else:
        out[BULLETS] += bullet(data, first, last)
        out[ELLIPSIS_LINES] += ellipsis(data, first, last)
    if not state[st.STOPPED]:
        pieces, longest, flags = state[st.PIECES], state[st.LONGEST], state[st.LINE_FLAGS]
        sentences = state[st.SENTENCES] + 1
        outcome, sentences = outcome_of(data, first, last, pieces, longest, flags, sentences, table, keys, cuts, rules)
        if outcome == KEPT:
            out[C4_LINES] += 1
            out[C4_SENTENCES] += sentences
        elif outcome == LOREM or outcome == CURLY:
            out[C4_LOREM if outcome == LOREM else C4_CURLY] = 1
            state[st.STOPPED] = 1
    start_split_line(state)


@njit
def start_split_line(state):
    """Forget the line that ended."""
    state[st.FIRST_BYTE] = -1
    state[st.PIECES] = state[st.LONGEST] = state[st.SENTENCES] = state[st.ENDED] = state[st.LINE_FLAGS] = 0


@njit
def bullet(data, a, b):
    """Whether bytes a to b begin with - or •."""
    return data[a] == 0x2D or (b - a >= 3 and data[a] == 0xE2 and data[a + 1] == 0x80 and data[a + 2] == 0xA2)


@njit
def ellipsis(data, a, b):
    """Whether bytes a to b end in ... or …."""
    if b - a < 3:
        return False
    dots = data[b - 1] == 0x2E and data[b - 2] == 0x2E and data[b - 3] == 0x2E
    return dots or (data[b - 3] == 0xE2 and data[b - 2] == 0x80 and data[b - 1] == 0xA6)
