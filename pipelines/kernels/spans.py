"""Word spans of a text column, for tests and for those who want the words themselves."""

from __future__ import annotations

import pyarrow as pa
from numba import njit

from pipelines.kernels.document import WORDS, scan_words
from pipelines.kernels.entry import source_stamp
from pipelines.kernels.pass_over import bytes_of
from pipelines.kernels.scratch import FIRST_WORDS, make_scratch, words_tables


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return (start, end) in bytes of the words that the fast rule finds in one text."""
    data, offsets = bytes_of(pa.array([text], pa.large_string()))
    size = FIRST_WORDS
    while size <= offsets[1] - offsets[0]:
        size *= 2
    scratch = make_scratch(size)
    _scan(data, offsets[0], offsets[1], words_tables(), scratch)
    count = int(scratch.totals[WORDS])
    return list(zip(scratch.starts[:count].tolist(), scratch.ends[:count].tolist(), strict=True))


def _entry(stamp: str):
    @njit(cache=True)
    def scan(data, a, b, words, s):
        if len(stamp):
            scan_words(data, a, b, a, words, s)

    return scan


_scan = _entry(source_stamp())
