"""The target falls towards a floor, exponentially in the weights: the law of Ye et al. 2024 (arXiv 2403.16952).

target = floor + exp(a + b . weights). For a given floor that is linear in the logarithm, so the floor is searched and
the rest is solved exactly. A run counts as (target - floor) squared: an error in the logarithm is worth that much in
the target, whose noise is what the runs share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from windtunnel.trainer.laws._form import LawForm, Predict, Ridge, best, ridges

COARSE = np.logspace(-2, 1.5, 12)  # how far below the smallest target, in spans of the targets; the last is near linear
FINE = 9  # floors between the neighbours of the best coarse one
HIGHEST = 60.0  # exponents are cut there: far outside the runs, a law must not overflow


class Exponential(LawForm):
    """Floor and penalty are chosen by the error on left-out runs."""

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
    """Return the fit, and its floor of those given, that predicts left-out runs best."""
    candidates: list[tuple[Ridge, np.ndarray]] = []
    under: list[float] = []
    for floor in floors:
        for fit in ridges(weights, np.log(target - floor), np.square(target - floor)):
            candidates.append((fit, floor + np.exp(np.minimum(fit.left_out, HIGHEST))))
            under.append(floor)
    chosen = best(candidates, target)
    fit, floor = candidates[chosen][0], under[chosen]
    return lambda mixes: floor + np.exp(np.minimum(fit.at(mixes), HIGHEST)), floor
