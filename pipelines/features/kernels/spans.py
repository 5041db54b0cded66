"""Word spans of a text, for tests and for callers that need the words."""

from __future__ import annotations

import numpy as np
from numba import njit

from windtunnel.pipelines.features.kernels.classes import SPACE
from windtunnel.pipelines.features.kernels.entry import source_stamp
from windtunnel.pipelines.features.kernels.memory import pointer
from windtunnel.pipelines.features.kernels.scratch import LONGEST_CHUNK
from windtunnel.pipelines.features.kernels.sentences import split_run
from windtunnel.pipelines.features.kernels.tables import word_table
from windtunnel.pipelines.features.kernels.unspaced import document_language
from windtunnel.pipelines.features.kernels.utf8 import class_at


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return (start, end) in bytes of the words of one text by the fast word rule."""
    raw = text.encode()
    data = np.frombuffer(raw + bytes(8), dtype=np.uint8)
    spans = np.empty((len(raw), 2), dtype=np.int64)
    count = _scan(data, len(raw), word_table(), np.empty(3 * LONGEST_CHUNK, dtype=np.int32), spans)
    return [(int(a), int(b)) for a, b in spans[:count]]


def _entry(stamp: str):
    @njit(cache=True)
    def scan(data, size, table, cuts, spans):
        """Write the spans of all words of the first `size` bytes; return their number."""
        text, tables, ends = pointer(data), pointer(table), pointer(cuts)
        n, i, language = 0, 0, document_language(text, 0, size, tables)
        while i < size and len(stamp):
            c, width = class_at(text, i, tables)
            if c & SPACE:
                i += width
                continue
            _, count = split_run(text, i, size, language, tables, ends)
            for k in range(count):
                spans[n, 0], spans[n, 1] = i, cuts[k]
                i = np.int64(cuts[k])
                n += 1
        return n

    return scan


_scan = _entry(source_stamp())
