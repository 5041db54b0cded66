"""Hashes of whole texts by their normalised words: texts that differ in case or punctuation only are equal."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from windtunnel.pipelines.features.buffers import text_buffers
from windtunnel.pipelines.features.folding import table


def word_hashes(texts: pa.Array, alive: np.ndarray | None = None) -> np.ndarray:
    """Return 128 bits (u64[n, 2]) of the words of each text; all zero without words, and where `alive` is false."""
    from windtunnel.pipelines.features.kernels.minhash import document_hashes

    return document_hashes(*text_buffers(texts), np.ones(len(texts), bool) if alive is None else alive, *table())
