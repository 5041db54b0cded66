"""The exponential mixing law of Ye et al. 2024 (arXiv 2403.16952): target = floor + exp(a + b . weights)."""

from __future__ import annotations

import numpy as np

from windtunnel.trainer.laws._excess import Excess
from windtunnel.trainer.laws._form import LawForm, Predict

PRIOR = Excess(("linear",), relevance=0.5)


class Exponential(LawForm):
    """A floor and one slope a domain, fitted jointly with priors that keep both finite."""

    @classmethod
    def planted(cls, weights: np.ndarray) -> np.ndarray:
        """Return exponentials above a floor."""
        return 2 + np.exp(weights @ np.array([-0.5, 1.5, -2.0]))

    def fit(self, weights: np.ndarray, target: np.ndarray, near: Predict | None = None) -> Predict:
        """Return the fit."""
        return PRIOR.fit(weights, target, near)
