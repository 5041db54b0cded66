"""Noise as a function of the mix, from mixes that were run more than once.

A mix close to the floor is often measured with less noise than a poor one. The logarithm of a run's variance is taken
to be linear in the prediction of its mix, which is counted in standard deviations of all predictions. The prior of the
slope (GENTLE) keeps the noise alike everywhere where repeats are few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

GENTLE = 0.5  # standard deviation of the prior of the slope
STEEPEST = 1.5
FARTHEST = 2.0  # standard deviations; the noise is taken as constant beyond them


@dataclass(frozen=True)
class Runs:
    """All runs of the distinct mixes: `target` [runs] and the mix that each is `of` [runs]."""

    target: np.ndarray
    of: np.ndarray

    @property
    def share(self) -> np.ndarray:
        """Return the weight of each run when every mix counts as one."""
        return 1 / np.bincount(self.of)[self.of]


@dataclass(frozen=True)
class Noise:
    """The standard deviation of a run relative to that of the average mix, for a predicted target."""

    middle: float = 0.0
    spread: float = 1.0
    slope: float = 0.0  # of the log variance

    def at(self, predicted: np.ndarray) -> np.ndarray:
        """Return the relative standard deviations for predicted targets, of the same shape."""
        away = np.clip((predicted - self.middle) / self.spread, -FARTHEST, FARTHEST)
        return np.exp(self.slope * away / 2)


def noise_of(runs: Runs, predicted: np.ndarray) -> Noise:
    """Return the noise that the repeats show, given a prediction of every mix [mixes]; constant without repeats."""
    counts = np.bincount(runs.of)
    means = np.bincount(runs.of, runs.target) / counts
    squares = np.bincount(runs.of, np.square(runs.target - means[runs.of]))
    again = (counts > 1) & (squares > 0)
    spread = float(predicted.std())
    if again.sum() < 2 or not spread > 0:
        return Noise()
    middle = float(predicted.mean())
    away = np.clip((predicted[again] - middle) / spread, -FARTHEST, FARTHEST)
    freedom, within = counts[again] - 1, squares[again]

    def cost(slope: float) -> float:
        """Negative log posterior of the slope with the level of the variance profiled out."""
        level = np.log((within * np.exp(-slope * away)).sum() / freedom.sum())
        return 0.5 * float((freedom * (level + slope * away)).sum()) + 0.5 * (slope / GENTLE) ** 2

    found = minimize_scalar(cost, bounds=(-STEEPEST, STEEPEST), method="bounded")
    return Noise(middle, spread, float(found.x))
