"""How a target depends on the weights of a mix: the base of trainer/laws, one form a file, and the ridge they use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from windtunnel.schemas.plugin import Plugin

Predict = Callable[[np.ndarray], np.ndarray]
RIDGES = np.logspace(-6, 1, 15)  # candidates, relative to a run's weight in the fit, which is 1 on average


class LawForm(Plugin, ABC):
    """A form that can be fitted to runs; everything that it selects on the way, it selects from those runs alone."""

    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)  # parameters that `windtunnel check law NAME` tries

    @classmethod
    def planted(cls, weights: np.ndarray) -> np.ndarray:
        """Return a target [mixes] of this form for weights [mixes, 3], which the check fits; a linear one by default.

        It must lie above zero.
        """
        return 3 + weights @ np.array([-0.5, 1.0, 0.2])

    @abstractmethod
    def fit(self, weights: np.ndarray, target: np.ndarray, near: Predict | None = None) -> Predict:
        """Return what predicts the target [mixes] from weights [mixes, domains] that sum to one.

        `near` is a fit of all of these runs but a few more: a slow search may start from it. Raises InputError where
        the form cannot hold, for example a logarithm of a negative loss.
        """


class Ridge(NamedTuple):
    """A linear fit with one intercept and a penalty on the slopes, and how it predicts each run from the others."""

    intercept: float
    slopes: np.ndarray
    left_out: np.ndarray

    def at(self, weights: np.ndarray) -> np.ndarray:
        return self.intercept + weights @ self.slopes


def ridges(weights: np.ndarray, target: np.ndarray, trust: np.ndarray | None = None) -> list[Ridge]:
    """Return a fit for each of RIDGES: least squares with `trust` (>= 0, one a run) as weights.

    Weights of a mix sum to one, so only differences between the slopes matter: the intercept takes their level and is
    not penalised. `left_out` is exact and needs no second fit.
    """
    share = np.ones(len(target)) if trust is None else trust / trust.mean()
    middle = np.average(weights, axis=0, weights=share)
    root = np.sqrt(share)[:, None]
    u, s, vt = np.linalg.svd((weights - middle) * root, full_matrices=False)
    level = np.average(target, weights=share)
    seen = root[:, 0] * (target - level)
    projected, found = u.T @ seen, []
    for ridge in RIDGES:
        shrunk = s**2 / (s**2 + ridge)
        slopes = vt.T @ (np.divide(shrunk, s, out=np.zeros_like(s), where=s > 1e-12) * projected)
        leverage = (u**2) @ shrunk + share / share.sum()
        fitted = level + (weights - middle) @ slopes
        residual = (target - fitted) / np.maximum(1 - leverage, 1e-9)
        found.append(Ridge(float(level - middle @ slopes), slopes, target - residual))
    return found


def best(candidates: list[tuple[Ridge, np.ndarray]], target: np.ndarray) -> int:
    """Return which candidate predicts the left-out runs best, from (fit, its left-out predictions of the target)."""
    errors = [float(np.square(left_out - target).mean()) for _, left_out in candidates]
    return int(np.nanargmin(errors))
