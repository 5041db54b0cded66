"""Histograms of scores between 0 and 1, fine at both ends, from which a top share is cut without sorting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from windtunnel.schemas.artifact import writing

BINS = 1 << 16
REACH = 16.0  # logits: scores nearer to 0 or 1 than 1.1e-7 fall into the outermost bins


class ScoreHistogram:
    """Counts over equal steps of the logit: 0.0005 wide, so that 0.018 and 0.9999 are told apart from their like.

    512 KiB, whatever the number of documents. Scores that are nan are not counted.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)

    def add(self, scores: np.ndarray) -> None:
        """Count scores."""
        known = scores[~np.isnan(scores)]
        self.counts += np.bincount(bins_of(known), minlength=BINS)

    @property
    def total(self) -> int:
        """Scores counted."""
        return int(self.counts.sum())

    def cut(self, share: float) -> float:
        """Return the score from which on about the `share` highest are, never fewer; they may be more by one bin.

        Equal scores stay or go together. 1 or more keeps all.
        """
        wanted = int(np.ceil(share * self.total))
        if wanted <= 0:
            return float("inf")
        above = np.cumsum(self.counts[::-1])[::-1]  # documents at or above each bin's lower edge
        places = np.flatnonzero(above >= wanted)
        return float(_EDGES[places[-1]]) if len(places) else 0.0

    def write(self, path: Path) -> None:
        """Write the bins that hold something: bin (u16), documents (i64)."""
        filled = np.flatnonzero(self.counts)
        frame = pl.DataFrame({"bin": filled.astype(np.uint16), "documents": self.counts[filled]})
        with writing(path) as partial:
            frame.write_parquet(partial)

    @staticmethod
    def read(path: Path) -> ScoreHistogram:
        """Return a histogram that `write` wrote."""
        frame = pl.read_parquet(path)
        made = ScoreHistogram()
        made.counts[frame["bin"].to_numpy()] = frame["documents"].to_numpy()
        return made


def bins_of(scores: np.ndarray) -> np.ndarray:
    """Return the bin of each score."""
    return np.searchsorted(_EDGES, scores, side="right") - 1


def _edges() -> np.ndarray:
    edges = 1 / (1 + np.exp(-np.linspace(-REACH, REACH, BINS, endpoint=False)))
    edges[0] = 0.0
    return edges


_EDGES = _edges()  # lowest score of each bin; compared as scores, so that a cut keeps just what was counted
