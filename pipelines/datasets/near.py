"""Exact near-duplicate search against a small set of documents: every pair with a Jaccard similarity of t or more."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from windtunnel.pipelines.features.buffers import text_buffers
from windtunnel.pipelines.features.folding import Normalisation, table


class NearIndex:
    """The word n-gram sets of some documents, searched exactly by Jaccard similarity.

    Memory: 8 bytes a distinct n-gram of each document and about 40 bytes an indexed one (the rarest 1 - threshold).
    A document of fewer than `ngram` words matches only documents of the same words; one without words matches none.
    """

    def __init__(self, texts: pa.Array, threshold: float, ngram: int = 5, how: Normalisation | None = None) -> None:
        from windtunnel.pipelines.features.kernels import shingle_sets

        data, offsets = text_buffers(texts)
        self.threshold, self.ngram, self.folding = threshold, ngram, table(how)
        self.sets, self.starts = shingle_sets.shingle_sets(data, offsets, *self.folding, ngram)
        token, document = _prefixes(self.sets, self.starts, threshold)
        order = np.lexsort((document, token))
        self.postings = document[order]
        self.tokens, first = np.unique(token[order], return_index=True)
        self.posting_starts = np.append(first, len(token)).astype(np.int64)
        self.table = shingle_sets.build_table(self.tokens)

    def match(self, texts: pa.Array, alive: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return (number of the most similar indexed document or -1, its similarity) for each text."""
        from windtunnel.pipelines.features.kernels.shingle_sets import match_texts

        data, offsets = text_buffers(texts)
        alive = np.ones(len(texts), bool) if alive is None else alive
        return match_texts(data, offsets, alive, *self.folding, self.ngram, *self._index(), self.threshold)

    def thin_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (-1 for each document that stays, else the earlier staying document it is near to; similarity)."""
        from windtunnel.pipelines.features.kernels.shingle_sets import thin_out

        return thin_out(*self._index(), self.threshold)

    def _index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.sets, self.starts, self.table, self.tokens, self.posting_starts, self.postings


def _prefixes(sets: np.ndarray, starts: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (token, document) of the rarest n-grams of each set, one of which every similar set must contain."""
    sizes = np.diff(starts)
    document = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    _, which, counts = np.unique(sets, return_inverse=True, return_counts=True)
    order = np.lexsort((sets, counts[which], document))
    rank = np.arange(len(sets)) - np.repeat(starts[:-1], sizes)
    indexed = rank < np.repeat(sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64) + 1, sizes)
    chosen = order[indexed]
    return sets[chosen], document[chosen]
