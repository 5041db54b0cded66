"""The exponential mixing law of Ye et al. 2024 (arXiv 2403.16952): target = floor + exp(a + b . weights).

For a given floor the law is linear in the logarithm, so the floor is found by grid search and the rest by ridge
regression. The sample weight of a run is (target - floor) squared, which equalises the noise in the logarithm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from windtunnel.trainer.laws._form import LawForm, Predict, Ridge, best, ridges

COARSE = np.logspace(-2, 1.5, 12)  # distance of the floor below the smallest target, in ranges of the target
FINE = 9  # floors between the neighbours of the best coarse floor
HIGHEST = 60.0  # bound on exponents, which prevents overflow far outside the runs


class Exponential(LawForm):
    """Floor and penalty minimise the leave-one-out error."""

    @classmethod
    def planted(cls, weights: np.ndarray) -> np.ndarray:
        """Return exponentials above a floor."""
        return 2 + np.exp(weights @ np.array([-0.5, 1.5, -2.0]))

    def fit(self, weights: np.ndarray, target: np.ndarray, near: Predict | None = None) -> Predict:
        """Return the fit."""
        span = max(float(np.ptp(target)), 1e-9 * abs(float(target.min())), 1e-12)
        lowest = float(target.min())
        _, floor = above([lowest - span * float(share) for share in COARSE], weights, target)
        at = int(np.argmin(np.abs(COARSE - (lowest - floor) / span)))
        around = np.geomspace(COARSE[max(at - 1, 0)], COARSE[min(at + 1, len(COARSE) - 1)], FINE)
        return above([lowest - span * float(share) for share in around], weights, target)[0]


def above(floors: Sequence[float], weights: np.ndarray, target: np.ndarray) -> tuple[Predict, float]:
    """Return the fit with the smallest leave-one-out error over the given floors, and its floor."""
    candidates: list[tuple[Ridge, np.ndarray]] = []
    under: list[float] = []
    for floor in floors:
        for fit in ridges(weights, np.log(target - floor), np.square(target - floor)):
            candidates.append((fit, floor + np.exp(np.minimum(fit.left_out, HIGHEST))))
            under.append(floor)
    chosen = best(candidates, target)
    fit, floor = candidates[chosen][0], under[chosen]
    return lambda mixes: floor + np.exp(np.minimum(fit.at(mixes), HIGHEST)), floor
