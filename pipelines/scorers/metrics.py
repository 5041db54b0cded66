"""Metrics of a binary classifier's probabilities: precision, recall, ROC AUC and calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 10


def figures(truth: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Return the metrics of a binary classifier on held-out documents.

    truth: bool, scores: probabilities, both (n,). Precision and recall are given at thresholds 0.1 to 0.9; undefined
    values are null. `calibration` has ten bins of equal width with the mean score and the share of positives; ece is
    their mean absolute difference, brier the mean squared error. The classes are balanced, so probabilities refer to
    even odds, not to the share of good documents in a crawl.
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


def precision_recall(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float | None]:
    """Return precision and recall of predictions, both bool (n,); null where undefined."""
    correct, chosen, positive = int((truth & predicted).sum()), int(predicted.sum()), int(truth.sum())
    return {"precision": correct / chosen if chosen else None, "recall": correct / positive if positive else None}


def auc(truth: np.ndarray, scores: np.ndarray) -> float | None:
    """Return the area under the ROC curve (Mann-Whitney U, ties count half); null if there is only one class."""
    from scipy.stats import rankdata

    positive = int(truth.sum())
    negative = len(truth) - positive
    if not positive or not negative:
        return None
    return float((rankdata(scores)[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def calibration(truth: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
    """Return the non-empty bins: low, high, documents, mean_score, positive (share of positives)."""
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    return [
        {
            "low": k / BINS,
            "high": (k + 1) / BINS,
            "documents": int((bins == k).sum()),
            "mean_score": float(scores[bins == k].mean()),
            "positive": float(truth[bins == k].mean()),
        }
        for k in np.unique(bins)
    ]
