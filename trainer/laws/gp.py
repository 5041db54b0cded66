"""A Gaussian process over the square roots of the weights with a linear trend, which assumes no functional form.

The Euclidean distance of square roots is proportional to the Hellinger distance of mixes. The hyperparameters maximise
the marginal likelihood (Rasmussen and Williams 2006, chapter 5).
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
SEARCH_AGAIN = 128  # above this number of runs, refits keep the given hyperparameters


class GaussianProcess(LawForm):
    """A smooth function with noise that reverts to the linear trend far from all runs."""

    @classmethod
    def planted(cls, weights: np.ndarray) -> np.ndarray:
        """Return a smooth surface with a minimum."""
        return 2 + 3 * np.square(weights - np.array([0.4, 0.4, 0.2])).sum(axis=1)

    def fit(self, weights: np.ndarray, target: np.ndarray, near: Predict | None = None) -> Predict:
        """Return the fit."""
        level, scale = float(target.mean()), float(target.std()) or 1.0
        runs = _Runs(weights, cdist(np.sqrt(weights), np.sqrt(weights), "sqeuclidean"), (target - level) / scale)
        if isinstance(near, _Fitted):
            logs = near.logs if len(target) > SEARCH_AGAIN else _search(runs, near.logs, 15)[1]
        else:
            logs = min((_search(runs, start, 200) for start in STARTS), key=lambda result: result[0])[1]
        return _Fitted(runs, logs, level, scale)


class _Runs(NamedTuple):
    weights: np.ndarray
    distance: np.ndarray  # squared, between the square roots
    target: np.ndarray  # standardised


class _Fitted:
    def __init__(self, runs: _Runs, logs: np.ndarray, level: float, scale: float) -> None:
        self.logs, self._seen, self._level, self._scale = logs, runs, level, scale
        smooth, trend, noise = _covariance(runs, logs)
        self._dual = cho_solve((_lower(smooth + trend + noise), True), runs.target)

    def __call__(self, mixes: np.ndarray) -> np.ndarray:
        size, length, trend, _ = np.exp(self.logs)
        distance = cdist(np.sqrt(np.maximum(mixes, 0)), np.sqrt(self._seen.weights), "sqeuclidean")
        cross = size * np.exp(-distance / (2 * length**2)) + trend * (mixes @ self._seen.weights.T)
        return self._level + self._scale * (cross @ self._dual)


def _covariance(runs: _Runs, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the covariances of the smooth part, the trend and the noise."""
    size, length, trend, noise = np.exp(logs)
    smooth = size * np.exp(-runs.distance / (2 * length**2))
    return smooth, trend * (runs.weights @ runs.weights.T), (noise + 1e-8) * np.eye(len(runs.target))


def _lower(covariance: np.ndarray) -> np.ndarray:
    return cholesky(covariance, lower=True, check_finite=False)


def _search(runs: _Runs, start: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    """Return (cost, log hyperparameters) of the local optimum found from a start."""
    options = {"maxiter": steps}
    result = minimize(
        lambda logs: _cost(runs, logs), start, jac=True, method="L-BFGS-B", bounds=BOUNDS, options=options
    )
    return float(result.fun), result.x


def _cost(runs: _Runs, logs: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the negative log marginal likelihood up to a constant, and its gradient."""
    smooth, trend, noise = _covariance(runs, logs)
    lower = _lower(smooth + trend + noise)
    dual = cho_solve((lower, True), runs.target)
    # derivative with respect to the covariance, then the chain rule for each hyperparameter
    slope = cho_solve((lower, True), np.eye(len(dual))) - np.outer(dual, dual)
    shares = (smooth, smooth * runs.distance / np.exp(2 * logs[1]), trend, noise)
    value = 0.5 * float(runs.target @ dual) + float(np.log(np.diag(lower)).sum())
    return value, 0.5 * np.array([float((slope * share).sum()) for share in shares])
