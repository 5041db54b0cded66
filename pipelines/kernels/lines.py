"""Lines and paragraphs of one document: duplicates, bullets, ends, lengths, and the outcome of C4's line rules.

Three ways of splitting live side by side because the published rules use three: at newlines (FineWeb), at runs of
newlines (Gopher's repetition), and wherever `str.splitlines` does (Gopher's quality, C4).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.kernels.breaks import next_line, strip
from pipelines.kernels.c4 import CURLY, LOREM, c4_line
from pipelines.kernels.classes import BREAK, TERMINAL, TRIGGER
from pipelines.kernels.columns import INDEX
from pipelines.kernels.utf8 import SEED, STEP, before, class_at, finish

NEWLINES, PARAGRAPHS = INDEX["newlines"], INDEX["paragraphs"]
DUPLICATE_PARAGRAPHS, DUPLICATE_PARAGRAPH_CHARS = INDEX["duplicate_paragraphs"], INDEX["duplicate_paragraph_chars"]
RUNS, DUPLICATE_RUNS, DUPLICATE_RUN_CHARS = (
    INDEX["line_runs"],
    INDEX["duplicate_line_runs"],
    INDEX["duplicate_line_run_chars"],
)
NONBLANK, PUNCTUATED, SHORT = INDEX["nonblank_lines"], INDEX["punctuated_lines"], INDEX["short_lines"]
DUPLICATE_LINE_CHARS, LONG_PARAGRAPHS = INDEX["duplicate_line_chars"], INDEX["long_paragraphs"]
LINES, BULLETS, ELLIPSIS_LINES = INDEX["lines"], INDEX["bullet_lines"], INDEX["ellipsis_lines"]
C4_LINES, C4_SENTENCES = INDEX["c4_lines"], INDEX["c4_sentences"]
C4_LOREM, C4_CURLY = INDEX["c4_lorem_ipsum"], INDEX["c4_curly_bracket"]
LONG_PARAGRAPH_CHARS = 200


@njit
def add_once(keys, mask, h):
    """Put h into the set; return whether it was there."""
    slot = (h >> np.uint64(1)) & mask
    while keys[slot] != np.uint64(0):
        if keys[slot] == h:
            return True
        slot = (slot + np.uint64(1)) & mask
    keys[slot] = h
    return False


@njit
def hash_line(data, a, b, words):
    """Return (hash, characters, union of character classes) of bytes a to b."""
    h, chars, union = SEED, 0, np.uint32(0)
    i = a
    while i < b:
        c, size = class_at(data, i, words.pages, words.classes)
        union |= c
        for j in range(i, i + size):
            h = (h + np.uint64(data[j])) * STEP
        chars += 1
        i += size
    return finish(h) | np.uint64(1), chars, union


@njit
def line_columns(data, a, b, newlines, words, s, rules, out):
    """Fill the line and paragraph columns of the document at bytes a to b.

    `rules` holds the short-line length and C4's switches; the table in `s.keys` must have room for two entries a line.
    """
    size = 16
    while size < 4 * (newlines + 2):
        size *= 2
    lines_mask = np.uint64(size // 2 - 1)
    line_keys, paragraph_keys = s.keys[: size // 2], s.keys[size // 2 : size]
    s.keys[:size] = 0
    inner_a, inner_b = strip(data, a, b, words)
    paragraph, paragraph_chars, open_paragraph = SEED, 0, False
    word, stopped = 0, False
    out[NEWLINES] = newlines
    position = a
    while True:
        end = position
        while end < b and data[end] != 0x0A:
            end += 1
        h, chars, union = hash_line(data, position, end, words)
        blank = True
        first, last = strip(data, position, end, words) if chars else (position, position)
        if first < last:
            blank = False
            out[NONBLANK] += 1
            c, _ = class_at(data, before(data, end), words.pages, words.classes)
            out[PUNCTUATED] += (c & TERMINAL) != 0
            out[SHORT] += chars <= rules.short_line_chars
        if chars >= LONG_PARAGRAPH_CHARS:
            out[LONG_PARAGRAPHS] += 1
        if chars:
            out[RUNS] += 1
            if add_once(line_keys, lines_mask, h):
                out[DUPLICATE_RUNS] += 1
                out[DUPLICATE_RUN_CHARS] += chars
                if not blank:
                    out[DUPLICATE_LINE_CHARS] += chars
        # a paragraph is the run of non-empty lines within the stripped text
        low, high = max(position, inner_a), min(end, inner_b)
        if low < high:
            if low != position or high != end:
                h, chars, _ = hash_line(data, low, high, words)
            paragraph_chars += chars + (1 if open_paragraph else 0)
            paragraph = (paragraph ^ h) * STEP
            open_paragraph = True
        if open_paragraph and (low >= high or end >= inner_b):
            out[PARAGRAPHS] += 1
            if add_once(paragraph_keys, lines_mask, finish(paragraph) | np.uint64(1)):
                out[DUPLICATE_PARAGRAPHS] += 1
                out[DUPLICATE_PARAGRAPH_CHARS] += paragraph_chars
            paragraph, paragraph_chars, open_paragraph = SEED, 0, False
        word, stopped = _split_lines(data, a, position, end, b, union, word, stopped, words, s, rules, out)
        if end >= b:
            break
        position = end + 1
    _close(data, a, b, out)


@njit
def _close(data, a, b, out):
    """Count the empty pieces that splitting at runs of newlines leaves at both ends, and the paragraph of no text."""
    if out[PARAGRAPHS] == 0:
        out[PARAGRAPHS] = 1
    starts = a == b or data[a] == 0x0A
    ends = b > a and data[b - 1] == 0x0A
    out[RUNS] += starts + ends
    out[DUPLICATE_RUNS] += starts and ends


@njit
def _split_lines(data, origin, a, b, doc_end, union, word, stopped, words, s, rules, out):
    """Take the lines that str.splitlines finds between two newlines; return (next word, whether C4 stopped)."""
    limit = b + 1 if b < doc_end else b  # after the last newline there is no empty line
    if not union & BREAK:
        if a < limit:
            word, stopped = _take_line(data, origin, a, b, union, word, stopped, words, s, rules, out)
        return word, stopped
    while a < limit:
        end, after = next_line(data, a, limit, words)
        word, stopped = _take_line(data, origin, a, end, union, word, stopped, words, s, rules, out)
        a = after
    return word, stopped


@njit
def _take_line(data, origin, a, b, union, word, stopped, words, s, rules, out):
    out[LINES] += 1
    a, b = strip(data, a, b, words)
    if a < b:
        bullet = data[a] == 0x2D or (b - a >= 3 and data[a] == 0xE2 and data[a + 1] == 0x80 and data[a + 2] == 0xA2)
        out[BULLETS] += bullet
        dots = b - a >= 3 and data[b - 1] == 0x2E and data[b - 2] == 0x2E and data[b - 3] == 0x2E
        dots |= b - a >= 3 and data[b - 3] == 0xE2 and data[b - 2] == 0x80 and data[b - 1] == 0xA6
        out[ELLIPSIS_LINES] += dots
    if stopped:
        return word, stopped
    outcome, sentences, word = c4_line(data, origin, a, b, (union & TRIGGER) != 0, word, words, s, rules)
    if outcome == LOREM:
        out[C4_LOREM] = 1
        return word, True
    if outcome == CURLY:
        out[C4_CURLY] = 1
        return word, True
    if outcome == 0:
        out[C4_LINES] += 1
        out[C4_SENTENCES] += sentences
    return word, stopped
