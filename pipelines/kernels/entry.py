"""The compiled entry points; one cache entry each, keyed by the source of every kernel file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numba import njit

from pipelines.kernels import state as st
from pipelines.kernels.c4_lines import rewrite
from pipelines.kernels.columns import INDEX
from pipelines.kernels.document import scan_document
from pipelines.kernels.ngrams import repetition
from pipelines.kernels.scratch import MOST_WORDS

SOURCES = (
    *("breaks", "c4_lines", "classes", "columns", "document", "english", "entry", "lines", "ngrams", "scratch"),
    *("sentences", "state", "tables", "urls", "utf8", "words"),
)
BYTES, CHARACTERS, HASHES, ELLIPSES = INDEX["bytes"], INDEX["characters"], INDEX["hashes"], INDEX["ellipses"]
NEWLINES, STOP_WORDS = INDEX["newlines"], INDEX["stop_words"]
WORDS, NON_SYMBOL_WORDS = INDEX["words"], INDEX["non_symbol_words"]
NON_SYMBOL_CHARS, ALPHA_WORDS = INDEX["non_symbol_word_chars"], INDEX["alpha_words"]
LETTERS, UPPERS, DIGITS = INDEX["letter_chars"], INDEX["upper_chars"], INDEX["digit_chars"]
SPACES, SYMBOLS = INDEX["space_chars"], INDEX["symbol_chars"]
TOP, REPEATED = INDEX["top_2_gram_chars"], INDEX["duplicate_5_gram_chars"]


@njit
def newlines_and_hashes(data, a, b):
    """Return how many newlines and how many # bytes a to b hold."""
    newlines = hashes = 0
    for i in range(a, b):
        newlines += data[i] == 0x0A
        hashes += data[i] == 0x23
    return newlines, hashes


@njit
def measure_document(data, a, b, spans, span, span_end, table, keys, rules, s, out):
    """Fill the columns of the document at bytes a to b; return whether the scratch was large enough."""
    newlines, hashes = newlines_and_hashes(data, a, b)
    lines_bits = 4
    while (1 << lines_bits) < 2 * (newlines + 1):
        lines_bits += 1
    if 2 << lines_bits > len(s.keys):
        return False
    mask = np.uint64((1 << lines_bits) - 1)
    state = s.state
    n = scan_document(
        data, a, b, spans, span, span_end, table, keys, rules, s.hashes, s.chars, s.cuts, s.keys, mask, state, out
    )
    if n > len(s.hashes) and len(s.hashes) < MOST_WORDS:
        return False
    out[BYTES], out[CHARACTERS] = b - a, b - a - state[st.CONTINUATION]
    out[NEWLINES], out[HASHES], out[ELLIPSES] = newlines, hashes, state[st.ELLIPSES]
    out[WORDS], out[ALPHA_WORDS] = n, state[st.ALPHA_WORDS]
    out[NON_SYMBOL_WORDS], out[NON_SYMBOL_CHARS] = state[st.NON_SYMBOL_WORDS], state[st.NON_SYMBOL_CHARS]
    out[LETTERS], out[UPPERS], out[DIGITS] = state[st.LETTERS], state[st.UPPERS], state[st.DIGITS]
    out[SPACES], out[SYMBOLS] = state[st.SPACES], state[st.SYMBOLS]
    bits = state[st.STOP_BITS]
    while bits:
        out[STOP_WORDS] += bits & 1
        bits >>= 1
    repetition(s, min(n, len(s.hashes)), out, TOP, REPEATED)
    return True


def source_stamp() -> str:
    """Return a digest of the kernel files: numba's cache looks at an entry's own file only, not at what it calls."""
    digest = hashlib.blake2b(digest_size=16)
    for name in SOURCES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()


def _entries(stamp: str):
    @njit(cache=True, nogil=True)
    def measure(data, offsets, first, spans, span_offsets, table, keys, rules, s, out):
        """Measure documents from `first` on; return the one whose scratch was too small, or their number.

        With `span_offsets` the words are given as byte spans i64[n, 2] relative to their document.
        """
        if len(stamp) == 0:  # the stamp is part of the cache key
            return -1
        given = len(span_offsets) > 0
        for k in range(first, len(offsets) - 1):
            out[k, :] = 0
            span, span_end = (span_offsets[k], span_offsets[k + 1]) if given else (0, -1)
            a, b = offsets[k], offsets[k + 1]
            if not measure_document(data, a, b, spans, span, span_end, table, keys, rules, s, out[k]):
                return k
        return len(offsets) - 1

    @njit(cache=True, nogil=True)
    def rewrite_c4(data, offsets, table, keys, cuts, rules, target, ends):
        """Write every document's C4 text into `target` (as long as the text), and where each ends into `ends`."""
        n = 0
        for k in range(len(offsets) - 1):
            n = rewrite(data, offsets[k], offsets[k + 1], table, keys, cuts, rules, target, n)
            ends[k] = n
        return len(stamp)

    return measure, rewrite_c4


measure, rewrite_c4 = _entries(source_stamp())
