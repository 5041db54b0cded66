"""The log-linear mixing law: the logarithm of the target is linear in the weights."""

from __future__ import annotations

import numpy as np

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.laws._form import LawForm, Predict, best, ridges

HIGHEST = 60.0  # bound on exponents, which prevents overflow far outside the runs


class LogLinear(LawForm):
    """An exponential law with floor zero, for positive targets."""

    @classmethod
    def planted(cls, weights: np.ndarray) -> np.ndarray:
        """Return exponentials that tend to zero."""
        return np.exp(weights @ np.array([-0.5, 1.5, 0.3]))

    def fit(self, weights: np.ndarray, target: np.ndarray, near: Predict | None = None) -> Predict:
        """Return the fit. Raises InputError if a target is not above zero.

        The sample weight of a run is its target squared, which equalises the noise in the logarithm.
        """
        if target.min() <= 0:
            raise InputError("a log-linear law needs a target above zero")
        fits = ridges(weights, np.log(target), np.square(target))
        fit = fits[best([(fit, np.exp(np.minimum(fit.left_out, HIGHEST))) for fit in fits], target)]
        return lambda mixes: np.exp(np.minimum(fit.at(mixes), HIGHEST))
