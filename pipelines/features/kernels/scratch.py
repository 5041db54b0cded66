"""Scratch memory that a thread reuses for all documents."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from windtunnel.pipelines.features.kernels.state import STATE_SIZE

LONGEST_CHUNK = 1 << 15  # bytes; longer runs without white space are split, which bounds `cuts`
FIRST_WORDS = 1 << 14
MOST_WORDS = 1 << 24  # words kept for n-grams: 17 M words are 100 MB of English, 1.1 GB of scratch


class Scratch(NamedTuple):
    """Scratch of one thread: 68 bytes per word of the longest document, plus its longest line."""

    hashes: np.ndarray  # u64[words + 2]
    lengths: np.ndarray  # i32[words + 2]: characters
    places: np.ndarray  # i32[words]: positions whose n-gram may repeat
    slots: np.ndarray  # i32[words]: slot of each in `held`
    grams: np.ndarray  # u64[words]: their hashes
    seen: np.ndarray  # u8[8 x words]: whether a pair occurred once or more often
    held: np.ndarray  # u64[2 x words]: hash sets of lines and paragraphs, then of n-grams
    counts: np.ndarray  # i32[4 x words]: count and first position
    cuts: np.ndarray  # i32[3 x LONGEST_CHUNK]: ends of words, ends of suffixes (in reverse), joins
    state: np.ndarray  # i64


def make_scratch(words: int) -> Scratch:
    """Return scratch for documents of up to `words` words (a power of two)."""
    return Scratch(
        hashes=np.empty(words + 2, dtype=np.uint64),
        lengths=np.empty(words + 2, dtype=np.int32),
        places=np.empty(words, dtype=np.int32),
        slots=np.empty(words, dtype=np.int32),
        grams=np.empty(words, dtype=np.uint64),
        seen=np.empty(8 * words, dtype=np.uint8),
        held=np.empty(2 * words, dtype=np.uint64),
        counts=np.empty(4 * words, dtype=np.int32),
        cuts=np.empty(3 * LONGEST_CHUNK, dtype=np.int32),
        state=np.zeros(STATE_SIZE, dtype=np.int64),
    )
