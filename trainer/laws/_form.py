"""The base class of mixing laws, which predict a target from the weights of a mix, and their ridge regression."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from windtunnel.schemas.plugin import Plugin

Predict = Callable[[np.ndarray], np.ndarray]
RIDGES = np.logspace(-6, 1, 15)  # candidate penalties, relative to the mean weight of a run, which is 1


class LawForm(Plugin, ABC):
    """A functional form that can be fitted to runs; any model selection uses those runs only."""

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)  # parameters that `windtunnel check law NAME` tries

    @classmethod
    def planted(cls, weights: np.ndarray) -> np.ndarray:
        """Return a target [mixes] of this form for weights [mixes, 3], which the check fits; a linear one by default.

        It must lie above zero.
        """
        return 3 + weights @ np.array([-0.5, 1.0, 0.2])

    @abstractmethod
    def fit(self, weights: np.ndarray, target: np.ndarray, near: Predict | None = None) -> Predict:
        """Return a function that predicts the target [mixes] from weights [mixes, domains] that sum to one.

        `near` is a fit of a slightly larger set of runs, from which an iterative search may start. Raises InputError if
        the form does not apply, for example the logarithm of a negative target. The predictions are [mixes] too, and
        finite; anything else is an error.
        """


class Ridge(NamedTuple):
    """A ridge regression with its leave-one-out predictions `left_out` [runs]."""

    intercept: float
    slopes: np.ndarray
    left_out: np.ndarray

    def at(self, weights: np.ndarray) -> np.ndarray:
        return self.intercept + weights @ self.slopes


def ridges(weights: np.ndarray, target: np.ndarray, trust: np.ndarray | None = None) -> list[Ridge]:
    """Return a fit for each penalty of RIDGES by least squares with `trust` (>= 0, one per run) as sample weights.

    The weights of a mix sum to one, so only differences between slopes matter; the intercept is not penalised. The
    leave-one-out predictions are exact and need no refitting.
    """
    share = np.ones(len(target)) if trust is None else trust / trust.mean()
    middle = np.average(weights, axis=0, weights=share)
    root = np.sqrt(share)[:, None]
    u, s, vt = np.linalg.svd((weights - middle) * root, full_matrices=False)
    level = np.average(target, weights=share)
    centred = root[:, 0] * (target - level)
    projected, fits = u.T @ centred, []
    for ridge in RIDGES:
        shrunk = s**2 / (s**2 + ridge)
        slopes = vt.T @ (np.divide(shrunk, s, out=np.zeros_like(s), where=s > 1e-12) * projected)
        leverage = (u**2) @ shrunk + share / share.sum()
        fitted = level + (weights - middle) @ slopes
        residual = (target - fitted) / np.maximum(1 - leverage, 1e-9)
        fits.append(Ridge(float(level - middle @ slopes), slopes, target - residual))
    return fits


def best(candidates: list[tuple[Ridge, np.ndarray]], target: np.ndarray) -> int:
    """Return the index of the candidate (fit, leave-one-out predictions) with the smallest squared error."""
    errors = [float(np.square(left_out - target).mean()) for _, left_out in candidates]
    return int(np.nanargmin(errors))
