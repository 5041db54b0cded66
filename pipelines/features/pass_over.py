"""Runs the compiled entry points on an Arrow text column and returns polars columns."""

from __future__ import annotations

import threading

import numpy as np
import polars as pl
import pyarrow as pa

from windtunnel.pipelines.features.buffers import padded_buffers
from windtunnel.pipelines.features.exact_words import word_spans
from windtunnel.pipelines.features.kernels.columns import COLUMNS
from windtunnel.pipelines.features.kernels.entry import measure, rewrite_c4
from windtunnel.pipelines.features.kernels.scratch import FIRST_WORDS, Scratch, make_scratch
from windtunnel.pipelines.features.kernels.state import C4_UNSPACED, RULE_FIELDS, RULES
from windtunnel.pipelines.features.kernels.tables import word_table, word_table_with
from windtunnel.pipelines.features.settings import Settings

_local = threading.local()  # scratch per thread, released after a long document
KEEP_WORDS = 1 << 18
NO_SPANS, NO_OFFSETS = np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64)


def measure_column(text: pa.Array | pa.ChunkedArray, settings: Settings) -> pl.DataFrame:
    """Return the shared columns (i64) of a text column. Raises InputError if it is not UTF-8."""
    data, offsets = padded_buffers(text)
    documents = len(offsets) - 1
    out = np.empty((len(COLUMNS), documents), dtype=np.int64)
    spans, span_offsets = NO_SPANS, NO_OFFSETS
    if settings.words == "exact":
        spans, span_offsets = word_spans(data, offsets, settings.language)
    line = _line_buffer(offsets)
    scratch, table = _scratch(settings), word_table_with(settings.stop_words)
    done = measure(data, offsets, 0, spans, span_offsets, table, scratch, line, out)
    while done < documents:
        scratch = _scratch(settings, 4 * len(scratch.places))
        done = measure(data, offsets, done, spans, span_offsets, table, scratch, line, out)
    _local.scratch = scratch if len(scratch.places) <= KEEP_WORDS else None
    columns = [pa.Array.from_buffers(pa.int64(), documents, [None, pa.py_buffer(column)]) for column in out]
    frame = pl.from_arrow(pa.RecordBatch.from_arrays(columns, names=list(COLUMNS)))
    assert isinstance(frame, pl.DataFrame)
    return frame


def rewrite_column(text: pa.Array | pa.ChunkedArray, settings: Settings) -> pa.Array:
    """Return every document after C4's line rules, as large_string; null becomes empty."""
    data, offsets = padded_buffers(text)
    target = np.zeros(int(offsets[-1] - offsets[0]) + 8, dtype=np.uint8)
    ends = np.zeros(len(offsets), dtype=np.int64)
    rewrite_c4(data, offsets, word_table(), _scratch(settings), _line_buffer(offsets), target, ends[1:])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(target[: ends[-1]])]
    return pa.Array.from_buffers(pa.large_string(), len(ends) - 1, buffers)


def _scratch(settings: Settings, words: int = 0) -> Scratch:
    scratch = (None if words else getattr(_local, "scratch", None)) or make_scratch(words or FIRST_WORDS)
    for place, name in enumerate(RULE_FIELDS):
        scratch.state[RULES + place] = getattr(settings, name)
    if settings.words == "exact":  # the reference splits lines at white space only
        scratch.state[C4_UNSPACED] = 0
    return scratch


def _line_buffer(offsets: np.ndarray) -> np.ndarray:
    """Return a buffer for the longest possible line; untouched pages use no memory."""
    return np.empty(int(np.diff(offsets).max(initial=0)) + 8, dtype=np.uint8)
