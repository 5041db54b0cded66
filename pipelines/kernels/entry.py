"""The compiled entry points; one cache entry each, keyed by the source of every kernel file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from numba import njit

from pipelines.kernels.c4 import c4_rewrite
from pipelines.kernels.columns import INDEX
from pipelines.kernels.document import (
    ALPHA_WORDS,
    NON_SYMBOL_CHARS,
    NON_SYMBOL_WORDS,
    STOP_BITS,
    WORDS,
    put_word,
    scan_words,
)
from pipelines.kernels.lines import line_columns
from pipelines.kernels.ngrams import repetition
from pipelines.kernels.scratch import MOST_WORDS


class LineRules(NamedTuple):
    """What changes line columns."""

    short_line_chars: int
    c4_terminal_punctuation: bool
    c4_citations: bool
    c4_min_words_per_line: int
    c4_max_word_chars: int
    c4_javascript: bool
    c4_policy: bool
    c4_lorem_ipsum: bool
    c4_curly_bracket: bool


BYTES, CHARACTERS, HASHES, ELLIPSES = INDEX["bytes"], INDEX["characters"], INDEX["hashes"], INDEX["ellipses"]
N_WORDS, N_NON_SYMBOL, N_NON_SYMBOL_CHARS = (
    INDEX["words"],
    INDEX["non_symbol_words"],
    INDEX["non_symbol_word_chars"],
)
N_ALPHA, N_STOP = INDEX["alpha_words"], INDEX["stop_words"]
TOP, REPEATED = INDEX["top_2_gram_chars"], INDEX["duplicate_5_gram_chars"]


@njit
def characters(data, a, b, words, out):
    """Fill the character columns; return how many newlines there are."""
    newlines = chars = hashes = ellipses = 0
    i = a
    while i < b:
        byte = data[i]
        chars += (byte & 0xC0) != 0x80
        newlines += byte == 0x0A
        hashes += byte == 0x23
        if byte == 0x2E and i + 2 < b and data[i + 1] == 0x2E and data[i + 2] == 0x2E:
            ellipses += 1
            i += 2  # str.count does not overlap
        elif byte == 0xE2 and data[i + 1] == 0x80 and data[i + 2] == 0xA6:
            ellipses += 1
        i += 1
    # the two continuation bytes stepped over with "..." are characters of their own
    out[BYTES], out[CHARACTERS], out[HASHES], out[ELLIPSES] = b - a, chars, hashes, ellipses
    return newlines


@njit
def finish_document(data, a, b, words, s, rules, out):
    """Fill every column once the words are in the scratch; return whether the scratch was large enough."""
    totals = s.totals
    newlines = characters(data, a, b, words, out)
    lines_need = 4 * (newlines + 2)
    if (totals[WORDS] > len(s.starts) and len(s.starts) < MOST_WORDS) or lines_need > len(s.keys) // 2:
        return False
    out[N_WORDS], out[N_NON_SYMBOL] = totals[WORDS], totals[NON_SYMBOL_WORDS]
    out[N_NON_SYMBOL_CHARS], out[N_ALPHA] = totals[NON_SYMBOL_CHARS], totals[ALPHA_WORDS]
    bits = totals[STOP_BITS]
    while bits:
        out[N_STOP] += bits & 1
        bits >>= 1
    line_columns(data, a, b, newlines, words, s, rules, out)
    repetition(s, min(totals[WORDS], len(s.starts)), out, TOP, REPEATED)
    return True


SOURCES = (
    "breaks",
    "c4",
    "classes",
    "columns",
    "document",
    "entry",
    "lines",
    "ngrams",
    "scratch",
    "urls",
    "utf8",
    "words",
)


def source_stamp() -> str:
    """Return a digest of the kernel files: numba's cache looks at an entry's own file only, not at what it calls."""
    digest = hashlib.blake2b(digest_size=16)
    for name in SOURCES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()


def _entries(stamp: str):
    @njit(cache=True, nogil=True)
    def measure_fast(data, offsets, first, words, s, rules, out):
        """Measure documents from `first` on; return the one whose scratch was too small, or their number."""
        if len(stamp) == 0:  # names the cache entry after the sources
            return -1
        for k in range(first, len(offsets) - 1):
            out[k, :] = 0
            a, b = offsets[k], offsets[k + 1]
            scan_words(data, a, b, a, words, s)
            if not finish_document(data, a, b, words, s, rules, out[k]):
                return k
        return len(offsets) - 1

    @njit(cache=True, nogil=True)
    def measure_given(data, offsets, first, spans, span_offsets, words, s, rules, out):
        """As `measure_fast`, with words given as byte spans i64[n, 2] relative to their document."""
        if len(stamp) == 0:
            return -1
        for k in range(first, len(offsets) - 1):
            out[k, :] = 0
            a, b = offsets[k], offsets[k + 1]
            s.totals[:8] = 0
            for w in range(span_offsets[k], span_offsets[k + 1]):
                put_word(data, a + spans[w, 0], a + spans[w, 1], a, words, s)
            if not finish_document(data, a, b, words, s, rules, out[k]):
                return k
        return len(offsets) - 1

    @njit(cache=True, nogil=True)
    def rewrite_c4(data, offsets, words, s, rules, target, ends):
        """Write every document's C4 text into `target` (as long as the text), and where each ends into `ends`."""
        n = 0
        for k in range(len(offsets) - 1):
            n = c4_rewrite(data, offsets[k], offsets[k + 1], words, s, rules, target, n)
            ends[k] = n
        return len(stamp)

    return measure_fast, measure_given, rewrite_c4


measure_fast, measure_given, rewrite_c4 = _entries(source_stamp())
