"""A Gaussian process over the square roots of the weights, with a linear trend: no form is assumed.

Euclidean distance between square roots is the Hellinger distance between mixes, up to a factor. Scales are those of the
largest marginal likelihood (Rasmussen and Williams 2006, chapter 5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from windtunnel.trainer.laws._form import LawForm, Predict

STARTS = (np.log([1.0, 0.3, 1.0, 0.05]), np.log([0.3, 1.0, 1.0, 0.3]))
BOUNDS = [(-9.0, 5.0), (-4.0, 3.0), (-9.0, 7.0), (-11.0, 1.0)]
SEARCH_AGAIN = 128  # runs; above it a fit of almost the same runs keeps the scales that it is given


class GaussianProcess(LawForm):
    """A smooth surface with noise; far from all runs it goes back to the trend."""

    @classmethod
    def planted(cls, weights: np.ndarray) -> np.ndarray:
        """Return a smooth surface with a minimum."""
        return 2 + 3 * np.square(weights - np.array([0.4, 0.4, 0.2])).sum(axis=1)

    def fit(self, weights: np.ndarray, target: np.ndarray, near: Predict | None = None) -> Predict:
        """Return the fit."""
        level, scale = float(target.mean()), float(target.std()) or 1.0
        seen = _Seen(weights, cdist(np.sqrt(weights), np.sqrt(weights), "sqeuclidean"), (target - level) / scale)
        if isinstance(near, _Fitted):
            logs = near.logs if len(target) > SEARCH_AGAIN else _search(seen, near.logs, 15)[1]
        else:
            logs = min((_search(seen, start, 200) for start in STARTS), key=lambda found: found[0])[1]
        return _Fitted(seen, logs, level, scale)


class _Seen(NamedTuple):
    weights: np.ndarray
    distance: np.ndarray  # squared, between the square roots
    target: np.ndarray  # standardised


class _Fitted:
    def __init__(self, seen: _Seen, logs: np.ndarray, level: float, scale: float) -> None:
        self.logs, self._seen, self._level, self._scale = logs, seen, level, scale
        smooth, trend, noise = _covariance(seen, logs)
        self._dual = cho_solve((_lower(smooth + trend + noise), True), seen.target)

    def __call__(self, mixes: np.ndarray) -> np.ndarray:
        size, length, trend, _ = np.exp(self.logs)
        distance = cdist(np.sqrt(np.maximum(mixes, 0)), np.sqrt(self._seen.weights), "sqeuclidean")
        cross = size * np.exp(-distance / (2 * length**2)) + trend * (mixes @ self._seen.weights.T)
        return self._level + self._scale * (cross @ self._dual)


def _covariance(seen: _Seen, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the covariances of the smooth part, of the trend, and of the noise."""
    size, length, trend, noise = np.exp(logs)
    smooth = size * np.exp(-seen.distance / (2 * length**2))
    return smooth, trend * (seen.weights @ seen.weights.T), (noise + 1e-8) * np.eye(len(seen.target))


def _lower(covariance: np.ndarray) -> np.ndarray:
    return cholesky(covariance, lower=True, check_finite=False)


def _search(seen: _Seen, start: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    """Return (cost, the logarithms of the scales) of the best scales that are found from a start."""
    options = {"maxiter": steps}
    found = minimize(lambda logs: _cost(seen, logs), start, jac=True, method="L-BFGS-B", bounds=BOUNDS, options=options)
    return float(found.fun), found.x


def _cost(seen: _Seen, logs: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the negative logarithm of the marginal likelihood, up to a constant, and its gradient."""
    smooth, trend, noise = _covariance(seen, logs)
    lower = _lower(smooth + trend + noise)
    dual = cho_solve((lower, True), seen.target)
    # the derivative of the likelihood by the covariance; each scale's share is its sum with that scale's own
    slope = cho_solve((lower, True), np.eye(len(dual))) - np.outer(dual, dual)
    shares = (smooth, smooth * seen.distance / np.exp(2 * logs[1]), trend, noise)
    value = 0.5 * float(seen.target @ dual) + float(np.log(np.diag(lower)).sum())
    return value, 0.5 * np.array([float((slope * share).sum()) for share in shares])
