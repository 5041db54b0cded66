"""Word spans of a text, for tests and for those who want the words themselves."""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.kernels.classes import SPACE
from pipelines.kernels.entry import source_stamp
from pipelines.kernels.scratch import LONGEST_CHUNK
from pipelines.kernels.sentences import chunk_end
from pipelines.kernels.tables import class_table, key_table
from pipelines.kernels.utf8 import class_at
from pipelines.kernels.words import split_chunk


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return (start, end) in bytes of the words that the English word rule finds in one text."""
    data = np.frombuffer(text.encode() or b" ", dtype=np.uint8)
    spans = np.empty((len(data), 2), dtype=np.int64)
    count = _scan(data, class_table(), key_table(), np.empty(3 * LONGEST_CHUNK, dtype=np.int32), spans)
    return [(int(a), int(b)) for a, b in spans[:count]]


def _entry(stamp: str):
    @njit(cache=True)
    def scan(data, table, keys, cuts, spans):
        """Write the spans of all words of `data`; return how many."""
        n, i = 0, 0
        while i < len(data) and len(stamp):
            c, size = class_at(data, i, table)
            if c & SPACE:
                i += size
                continue
            count = split_chunk(data, i, chunk_end(data, i, len(data), table), table, keys, cuts)
            for k in range(count):
                spans[n, 0], spans[n, 1] = i, cuts[k]
                i = cuts[k]
                n += 1
        return n

    return scan


_scan = _entry(source_stamp())
