"""The log-linear mixing law: the logarithm of the target is linear in the weights."""

from __future__ import annotations

import numpy as np

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.laws._form import LawForm, Predict
from windtunnel.trainer.laws.exponential import above


class LogLinear(LawForm):
    """An exponential law with floor zero, for positive targets."""

    @classmethod
    def planted(cls, weights: np.ndarray) -> np.ndarray:
        """Return exponentials that tend to zero."""
        return np.exp(weights @ np.array([-0.5, 1.5, 0.3]))

    def fit(self, weights: np.ndarray, target: np.ndarray, near: Predict | None = None) -> Predict:
        """Return the fit. Raises InputError if a target is not above zero."""
        if target.min() <= 0:
            raise InputError("a log-linear law needs a target above zero")
        return above([0.0], weights, target)[0]
