"""Scores of a choice by likelihood, those that runs at small sizes can be compared by among them."""

from __future__ import annotations

import numpy as np

SCORES = ("acc", "acc_norm", "probability", "probability_norm")


def choice_scores(nats: np.ndarray, sizes: np.ndarray, right: int) -> dict[str, float]:
    """Return SCORES of one question from the nats and bytes of its choices.

    `acc`, `acc_norm`: whether the right choice is the likeliest, as it is and per byte (lm-eval). `probability` and
    `probability_norm` are its share of the likelihoods of all choices, as they are and per byte: they move at sizes
    where accuracy stays at chance (`norm_correct_prob` and `norm_correct_prob_per_char` of OLMES and DataDecide,
    Magnusson et al. 2025, arXiv 2504.11393). A model that knows nothing has one by the number of choices in all four.
    """
    rates = nats / sizes
    return {
        "acc": float(nats.argmin() == right),
        "acc_norm": float(rates.argmin() == right),
        "probability": _share(nats, right),
        "probability_norm": _share(rates, right),
    }


def _share(nats: np.ndarray, right: int) -> float:
    shares = np.exp(nats.min() - nats)
    return float(shares[right] / shares.sum())
