"""Mean unigram log-probability of the words of a document, by a hash table."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
from numba import njit

from windtunnel.pipelines.features.buffers import padded_buffers
from windtunnel.pipelines.features.kernels.classes import SPACE
from windtunnel.pipelines.features.kernels.entry import source_stamp
from windtunnel.pipelines.features.kernels.memory import pointer
from windtunnel.pipelines.features.kernels.scratch import LONGEST_CHUNK
from windtunnel.pipelines.features.kernels.sentences import split_run
from windtunnel.pipelines.features.kernels.tables import hash_string, word_table
from windtunnel.pipelines.features.kernels.unspaced import document_language
from windtunnel.pipelines.features.kernels.utf8 import ZERO, class_at, hash_bytes
from windtunnel.pipelines.features.word_frequencies import word_counts
from windtunnel.schemas.errors import InputError

UNSEEN = float(np.log(1e-9))


def mean_log_probability(text: pa.Array, source: str | tuple[tuple[str, int], ...]) -> np.ndarray:
    """Return the mean log-probability of the words of each document, f64; 0 for a document without words."""
    data, offsets = padded_buffers(text)
    keys, values = _table(source)
    out = np.zeros(len(offsets) - 1, dtype=np.float64)
    longest = int(np.diff(offsets).max(initial=0)) + 8
    room = (np.empty(3 * LONGEST_CHUNK, dtype=np.int32), np.empty(longest, dtype=np.uint8))
    _mean(data, offsets, word_table(), *room, keys, values, UNSEEN, out)
    return out


@cache
def _table(source: str | tuple[tuple[str, int], ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return an open-addressing table (hashes u64, log-probabilities f64), about 32 bytes per word."""
    pairs = word_counts(source) if isinstance(source, str) else list(source)
    total = sum(count for _, count in pairs)
    if not pairs or total <= 0:
        raise InputError("the word frequencies have no counts above 0")
    size = 1 << max(4, (2 * len(pairs) - 1).bit_length())
    keys, values = np.zeros(size, dtype=np.uint64), np.zeros(size, dtype=np.float64)
    for word, count in pairs:
        h = hash_string(word.lower())
        slot = h >> 1 & size - 1
        while keys[slot] not in (0, h):
            slot = (slot + 1) & size - 1
        keys[slot], values[slot] = h, np.log(max(count, 1) / total)
    return keys, values


def _entry(stamp: str):
    @njit(cache=True, nogil=True)
    def mean(data, offsets, table, cuts, lower, keys, values, unseen, out):
        """Fill `out` with the mean of each document."""
        text, tables, ends, small = pointer(data), pointer(table), pointer(cuts), pointer(lower)
        mask = np.uint64(len(keys) - 1)
        for k in range(len(offsets) - 1):
            total, words, i, b = 0.0, 0, offsets[k], offsets[k + 1]
            language = document_language(text, i, b, tables)
            while i < b and len(stamp):
                c, width = class_at(text, i, tables)
                if c & SPACE:
                    i += width
                    continue
                _, count = split_run(text, i, b, language, tables, ends)
                for w in range(count):
                    end = np.int64(cuts[w])
                    for j in range(i, end):
                        byte = text[j]
                        small[j - i] = byte + 0x20 if 0x41 <= byte <= 0x5A else byte
                    h = hash_bytes(small, 0, end - i)
                    slot = np.int64((h >> np.uint64(1)) & mask)
                    while keys[slot] != ZERO and keys[slot] != h:
                        slot = np.int64(np.uint64(slot + 1) & mask)
                    total += values[slot] if keys[slot] == h else unseen
                    i = end
                words += count
            out[k] = total / words if words else 0.0

    return mean


_mean = _entry(source_stamp())
