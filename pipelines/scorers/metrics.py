"""How good a classifier's probabilities are: precision and recall, ranking, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 10


def figures(truth: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Return the figures of a binary classifier on documents it was not trained on.

    truth: bool, scores: probabilities, both (n,). precision and recall are given at 0.5 and at every tenth of the
    scores; a precision over nothing is null. auc is the chance that a positive document scores above a negative one,
    ties as half. `calibration`: ten bins of equal width, each with the mean score and the share that is positive;
    ece is their mean distance, brier the mean squared error. Classes are balanced, so these are probabilities for
    even odds, not for the share of good documents in a crawl.
    """
    thresholds = [tenth / BINS for tenth in range(1, BINS)]
    bins = calibration(truth, scores)
    gap = sum(b["documents"] * abs(b["mean_score"] - b["positive"]) for b in bins)
    at = {f"{t:.1f}": precision_recall(truth, scores >= t) for t in thresholds}
    return {
        "documents": len(truth),
        "positive": int(truth.sum()),
        **at["0.5"],
        "auc": auc(truth, scores),
        "brier": float(np.mean((scores - truth) ** 2)),
        "ece": gap / max(1, len(truth)),
        "thresholds": at,
        "calibration": bins,
    }


def precision_recall(truth: np.ndarray, said: np.ndarray) -> dict[str, float | None]:
    """Return precision and recall of what was said to be positive; null where nothing is to be counted over."""
    right, chosen, positive = int((truth & said).sum()), int(said.sum()), int(truth.sum())
    return {"precision": right / chosen if chosen else None, "recall": right / positive if positive else None}


def auc(truth: np.ndarray, scores: np.ndarray) -> float | None:
    """Return the area under the ROC curve from ranks (Mann and Whitney), ties as half; null with one class only."""
    positive = int(truth.sum())
    negative = len(truth) - positive
    if not positive or not negative:
        return None
    _, places, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[places]
    return float((ranks[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def calibration(truth: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
    """Return the bins that hold documents: low, high, documents, mean_score, positive (the share that is)."""
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    found = []
    for place in np.unique(places):
        inside = places == place
        found.append(
            {
                "low": place / BINS,
                "high": (place + 1) / BINS,
                "documents": int(inside.sum()),
                "mean_score": float(scores[inside].mean()),
                "positive": float(truth[inside].mean()),
            }
        )
    return found
