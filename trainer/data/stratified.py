"""An order of items in which every prefix holds each stratum in proportion: stratified systematic sampling by hash.

The sampler of pretraining windows and the schedule of rows draw in it. Within a stratum items are in the order of their
hashes, so that two data sets with common items read them in the same relative order. The strata are interleaved: the
item that begins after a share t of its stratum's tokens is due at about t, so a draw of any length deviates from the
strata's shares by about one item each, where an unstratified shuffle deviates by the square root of their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from blake3 import blake3

_CLASSES = 64  # length classes of a source


class Strata(NamedTuple):
    """The stratum of each item, int32 [n], and a key of each stratum, u64 [strata]."""

    of: np.ndarray
    keys: np.ndarray

    @classmethod
    def by_source_and_length(cls, source: np.ndarray, names: Sequence[str], lengths: np.ndarray) -> Strata:
        """Return the strata of items from the number of the source of each, the sources' names, and the lengths."""
        labels, of = np.unique(source * _CLASSES + length_class(lengths), return_inverse=True)
        texts = [f"{names[label // _CLASSES]}/{label % _CLASSES}" for label in labels.tolist()]
        return cls(of.astype(np.int32), np.array([digest(text) for text in texts], np.uint64))


def stratified_order(hashes: np.ndarray, strata: np.ndarray, sizes: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """Return the order of items, int64 [n].

    hashes: u64 [n], pseudo-random; strata: int [n], numbers from 0; sizes: int [n], tokens above zero; phases: float
    [strata] in [0, 1), pseudo-random: where within itself an item is due, without which all strata of one item would be
    due at the same moment.
    """
    order = np.lexsort((hashes, strata))
    stratum, size = strata[order], sizes[order]
    before = np.cumsum(size) - size
    firsts = np.flatnonzero(np.diff(stratum, prepend=-1))
    lengths = np.diff(firsts, append=len(order))
    within = before - np.repeat(before[firsts], lengths)
    totals = np.repeat(np.add.reduceat(size, firsts), lengths) if len(order) else size
    due = (within + phases[stratum] * size) / totals
    return order[np.lexsort((hashes[order], due))]


def length_class(lengths: np.ndarray) -> np.ndarray:
    """Return the binary logarithm of each length in tokens, rounded down, int64 [n]."""
    return np.frexp(np.maximum(lengths, 1).astype(np.float64))[1].astype(np.int64) - 1


def digest(text: str) -> int:
    """Return 64 bits of a text's blake3 digest."""
    return int.from_bytes(blake3(text.encode()).digest(8), "big")
