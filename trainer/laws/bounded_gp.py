"""A Gaussian process on log(target - floor): any smooth surface that is bounded below and has diminishing returns."""

from __future__ import annotations

import numpy as np

from windtunnel.trainer.laws._excess import Excess
from windtunnel.trainer.laws._form import LawForm, Predict

PRIOR = Excess(("linear", "root", "smooth"), relevance=0.5)


class BoundedGP(LawForm):
    """The exponential law with diminishing returns, interactions and a relevance of each domain."""

    @classmethod
    def planted(cls, weights: np.ndarray) -> np.ndarray:
        """Return a surface with diminishing returns of two domains."""
        return 1 + (weights[:, 0] + 0.05) ** -0.3 + 0.5 * (weights[:, 1] + 0.1) ** -0.2

    def fit(self, weights: np.ndarray, target: np.ndarray, near: Predict | None = None) -> Predict:
        """Return the fit."""
        return PRIOR.fit(weights, target, near)
