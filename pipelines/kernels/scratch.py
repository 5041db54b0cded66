"""Scratch that a thread reuses for all documents."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipelines.kernels.state import STATE_SIZE

LONGEST_CHUNK = 1 << 15  # bytes; a longer run without white space is cut there, so that `cuts` stays small
FIRST_WORDS = 1 << 14
MOST_WORDS = 1 << 24  # words kept for n-grams: 17 M words are 100 MB of English, 900 MB of scratch


class Scratch(NamedTuple):
    """Per-thread scratch: 56 bytes a word of the longest document (12 for the word, 12 to find n-grams that may
    repeat, 32 for their table)."""

    hashes: np.ndarray  # u64
    chars: np.ndarray  # i32
    places: np.ndarray  # i32: positions whose n-gram may repeat
    seen: np.ndarray  # u8[8 a word]: which n-grams were met, once and more than once
    keys: np.ndarray  # u64[2 a word]: n-grams, and before them lines and paragraphs
    counts: np.ndarray  # i32[2 x 2 a word]: how often, and where first
    cuts: np.ndarray  # i32[3 x LONGEST_CHUNK]: ends of words, of suffixes (gathered backwards), joins
    state: np.ndarray  # i64


def make_scratch(words: int) -> Scratch:
    """Return scratch for documents of up to `words` words (a power of two)."""
    return Scratch(
        hashes=np.empty(words, dtype=np.uint64),
        chars=np.empty(words, dtype=np.int32),
        places=np.empty(words, dtype=np.int32),
        seen=np.zeros(8 * words, dtype=np.uint8),
        keys=np.zeros(2 * words, dtype=np.uint64),
        counts=np.zeros(4 * words, dtype=np.int32),
        cuts=np.empty(3 * LONGEST_CHUNK, dtype=np.int32),
        state=np.zeros(STATE_SIZE, dtype=np.int64),
    )
