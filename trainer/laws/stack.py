"""A weighted mean of laws that are bounded below; the shares minimise their error on left-out runs (Wolpert 1992).

The runs are left out at random, by corners and from the lowest up, so that a form earns its share by what it
extrapolates as much as by what it interpolates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from windtunnel.trainer.laws._extrapolation import extrapolating, spread
from windtunnel.trainer.laws._form import LawForm, Predict
from windtunnel.trainer.laws.bounded_gp import BoundedGP
from windtunnel.trainer.laws.exponential import Exponential

FOLDS = 8  # at random
EVEN = 0.3  # strength of the pull to even shares, in units of the mean squared error of the members


class Stack(LawForm):
    """The mean of the bounded forms, which are few because each has to keep its shape outside the runs."""

    members: tuple[LawForm, ...] = (Exponential(), BoundedGP())

    @classmethod
    def planted(cls, weights: np.ndarray) -> np.ndarray:
        """Return exponentials above a floor."""
        return Exponential.planted(weights)

    def fit(self, weights: np.ndarray, target: np.ndarray, near: Predict | None = None) -> Predict:
        """Return the fit; with `near` its shares are kept."""
        if isinstance(near, Stacked):
            fits = [form.fit(weights, target, fit) for form, fit in zip(self.members, near.fits, strict=True)]
            return Stacked(tuple(fits), near.shares)
        fits = tuple(form.fit(weights, target) for form in self.members)
        return Stacked(fits, self._shares(weights, target, fits))

    def _shares(self, weights: np.ndarray, target: np.ndarray, fits: tuple[Predict, ...]) -> np.ndarray:
        """Return the share of each member: least squares on the simplex, pulled to even shares."""
        even = np.full(len(fits), 1 / len(fits))
        errors = []
        scale = target - target.min() + np.ptp(target)  # errors of poor mixes count less
        for out in (*spread(len(target), FOLDS), *extrapolating(weights, target)):
            if np.ptp(target[~out]):
                again = [form.fit(weights[~out], target[~out], fit) for form, fit in zip(self.members, fits, strict=True)]
                errors.append(np.column_stack([(fit(weights[out]) - target[out]) / scale[out] for fit in again]))
        if not errors:
            return even
        left_out = np.clip(np.concatenate(errors), -1, 1)
        usual = np.sqrt(np.square(left_out).mean())
        pull = np.sqrt(EVEN * len(left_out)) * usual * np.eye(len(fits))
        together = np.full((1, len(fits)), 1e3 * (usual + 1e-12) * np.sqrt(len(left_out)))  # the shares sum to one
        wanted = np.concatenate([np.zeros(len(left_out)), pull @ even, together[0, :1]])
        shares = nnls(np.concatenate([left_out, pull, together]), wanted)[0]
        return shares / shares.sum() if shares.sum() > 0 else even


@dataclass(frozen=True)
class Stacked:
    """Fits of the members and their shares, which sum to one."""

    fits: tuple[Predict, ...]
    shares: np.ndarray

    def __call__(self, mixes: np.ndarray) -> np.ndarray:
        return sum(share * fit(mixes) for share, fit in zip(self.shares, self.fits, strict=True))
