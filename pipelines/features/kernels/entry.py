"""The compiled entry points, cached on disk and keyed by the source of all kernel files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numba import njit

from windtunnel.pipelines.features.kernels import state as st
from windtunnel.pipelines.features.kernels.c4_lines import rewrite
from windtunnel.pipelines.features.kernels.columns import COLUMNS, INDEX
from windtunnel.pipelines.features.kernels.document import scan_document
from windtunnel.pipelines.features.kernels.memory import pointer
from windtunnel.pipelines.features.kernels.ngrams import repetition
from windtunnel.pipelines.features.kernels.scratch import MOST_WORDS

SOURCES = (
    *("breaks", "c4_lines", "chunks", "classes", "columns", "document", "english", "entry", "lines", "memory"),
    *("ngrams", "scratch", "sentences", "state", "tables", "unspaced", "urls", "utf8", "words"),
)
WIDTH = len(COLUMNS)
BYTES, CHARACTERS, HASHES, ELLIPSES = (st.OUT + INDEX[n] for n in ("bytes", "characters", "hashes", "ellipses"))
NEWLINES, STOP_WORDS = st.OUT + INDEX["newlines"], st.OUT + INDEX["stop_words"]
WORDS, NON_SYMBOL_WORDS = st.OUT + INDEX["words"], st.OUT + INDEX["non_symbol_words"]
NON_SYMBOL_CHARS, ALPHA_WORDS = st.OUT + INDEX["non_symbol_word_chars"], st.OUT + INDEX["alpha_words"]
LETTERS, UPPERS, DIGITS = (st.OUT + INDEX[n] for n in ("letter_chars", "upper_chars", "digit_chars"))
SPACES, SYMBOLS = st.OUT + INDEX["space_chars"], st.OUT + INDEX["symbol_chars"]
TOP, REPEATED = st.OUT + INDEX["top_2_gram_chars"], st.OUT + INDEX["duplicate_5_gram_chars"]


@njit
def newlines_and_hashes(data, a, b):
    """Return the numbers of newlines and of # in bytes a to b."""
    newlines = hashes = 0
    for i in range(a, b):
        newlines += data[i] == 0x0A
        hashes += data[i] == 0x23
    return newlines, hashes


@njit
def line_bits(newlines):
    """Return the binary logarithm of the number of slots of a line set that is at most half full."""
    bits = 4
    while (1 << bits) < 2 * (newlines + 1):
        bits += 1
    return bits


@njit
def count_columns(size, words, newlines, hashes, state):
    """Write the document's character and word columns."""
    state[BYTES], state[CHARACTERS] = size, size - state[st.CONTINUATION]
    state[NEWLINES], state[HASHES], state[ELLIPSES] = newlines, hashes, state[st.ELLIPSES]
    state[WORDS] = words
    state[ALPHA_WORDS] = state[st.ALPHA_WORDS] + state[st.LETTER_WORDS]
    state[NON_SYMBOL_WORDS] = state[st.NON_SYMBOL_WORDS] + state[st.LETTER_WORDS]
    state[NON_SYMBOL_CHARS] = state[st.NON_SYMBOL_CHARS] + state[st.LETTER_WORD_CHARS]
    state[LETTERS], state[UPPERS], state[DIGITS] = state[st.LETTERS], state[st.UPPERS], state[st.DIGITS]
    state[SPACES], state[SYMBOLS] = state[st.SPACES], state[st.SYMBOLS]
    bits = state[st.STOP_BITS]
    while bits:
        state[STOP_WORDS] += bits & 1
        bits >>= 1


@njit
def measure_document(data, a, b, spans, span, span_end, table, s, line, out, row):
    """Fill row `row` of the columns for the document at bytes a to b; return whether the scratch was large enough."""
    newlines, hashes = newlines_and_hashes(data, a, b)
    bits = line_bits(newlines)
    if 2 << bits > len(s.held):
        return False
    most = len(s.places)
    mask = np.uint64((1 << bits) - 1)
    text, tables, state = pointer(data), pointer(table), pointer(s.state)
    words, lengths, held = pointer(s.hashes), pointer(s.lengths), pointer(s.held)
    cuts, buffer = pointer(s.cuts), pointer(line)
    n = scan_document(
        text, a, b, pointer(spans), span, span_end, tables, words, lengths, most, cuts, buffer, held, mask, state
    )
    if n > most and most < MOST_WORDS:
        return False
    count_columns(b - a, n, newlines, hashes, state)
    places, slots, grams, seen = pointer(s.places), pointer(s.slots), pointer(s.grams), pointer(s.seen)
    counts = pointer(s.counts)
    repetition(words, lengths, places, slots, grams, seen, held, counts, min(n, most), state, TOP, REPEATED)
    for column in range(WIDTH):
        out[column, row] = state[st.OUT + column]
    return True


def source_stamp() -> str:
    """Return a digest of the kernel files, because numba's cache checks only the file of the entry point."""
    digest = hashlib.blake2b(digest_size=16)
    for name in SOURCES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()


def _entries(stamp: str):
    @njit(cache=True, nogil=True)
    def measure(data, offsets, first, spans, span_offsets, table, s, line, out):
        """Measure documents from `first` on; return the first for which the scratch is too small, or their number.

        `data` has eight bytes after the last document. With `span_offsets` the words are given as byte spans i64[n, 2]
        relative to their document. `line` is as long as the longest document; `out` is i64[columns, n].
        """
        if len(stamp) == 0:  # the stamp is part of the cache key
            return -1
        for k in range(first, len(offsets) - 1):
            span, span_end = 0, -1
            if len(span_offsets):
                span, span_end = span_offsets[k], span_offsets[k + 1]
            a, b = offsets[k], offsets[k + 1]
            if not measure_document(data, a, b, spans, span, span_end, table, s, line, out, k):
                return k
        return len(offsets) - 1

    @njit(cache=True, nogil=True)
    def rewrite_c4(data, offsets, table, s, line, target, ends):
        """Write the C4 text of every document into `target` (as long as the text), and its end into `ends`."""
        n = 0
        for k in range(len(offsets) - 1):
            a, b = offsets[k], offsets[k + 1]
            text, tables, to = pointer(data), pointer(table), pointer(target)
            n = rewrite(text, a, b, tables, pointer(s.cuts), pointer(line), pointer(s.state), to, n)
            ends[k] = n
        return len(stamp)

    return measure, rewrite_c4


measure, rewrite_c4 = _entries(source_stamp())
