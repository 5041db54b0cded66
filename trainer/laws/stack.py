"""A weighted mean of laws that are bounded below; the shares minimise their error on left-out runs (Wolpert 1992).

The runs are left out at random, by corners and from the lowest up, so that a form earns its share by what it
extrapolates as much as by what it interpolates. Both members keep their shape outside the runs: each stays above its
floor. The shares are pulled to the first, whose prior holds the second as a special case: a few dozen left-out errors
choose badly between two forms that are about as good.
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
SMALLEST = 0.02  # share; smaller ones are none
PULL = 0.5  # strength of the pull to the first member, in mean squared errors


class Stack(LawForm):
    """The mean of the Gaussian process on the logarithm of the excess and of the exponential law."""

    members: tuple[LawForm, ...] = (BoundedGP(), Exponential())

    @classmethod
    def planted(cls, weights: np.ndarray) -> np.ndarray:
        """Return exponentials above a floor."""
        return Exponential.planted(weights)

    def fit(self, weights: np.ndarray, target: np.ndarray, near: Predict | None = None) -> Predict:
        """Return the fit; with `near` its shares are kept."""
        if isinstance(near, Stacked):
            used = zip(self.members, near.fits, near.shares, strict=True)
            again = [form.fit(weights, target, fit) if share else fit for form, fit, share in used]
            return Stacked(tuple(again), near.shares)
        fits = tuple(form.fit(weights, target) for form in self.members)
        return Stacked(fits, shares(self._left_out(weights, target, fits)))

    def _left_out(self, weights: np.ndarray, target: np.ndarray, fits: tuple[Predict, ...]) -> np.ndarray:
        """Return relative errors of left-out runs, [errors, members]; those of poor mixes count less."""
        scale, errors = target - target.min() + np.ptp(target), [np.empty((0, len(fits)))]
        for out in (*spread(len(target), FOLDS), *extrapolating(weights, target)):
            if np.ptp(target[~out]):
                left = weights[~out], target[~out]
                again = [form.fit(*left, near=fit) for form, fit in zip(self.members, fits, strict=True)]
                errors.append(np.column_stack([(fit(weights[out]) - target[out]) / scale[out] for fit in again]))
        return np.clip(np.concatenate(errors), -1, 1)


def shares(errors: np.ndarray) -> np.ndarray:
    """Return the share of each member [members] by least squares on the simplex, for errors [errors, members]."""
    first = np.eye(errors.shape[1])[0]
    usual = float(np.square(errors).sum())
    if not usual > 0:
        return first
    pull = np.sqrt(PULL * usual / errors.shape[1]) * np.eye(len(first))
    one = np.full((1, len(first)), 1e3 * np.sqrt(usual))  # the shares sum to one
    found = nnls(np.concatenate([errors, pull, one]), np.concatenate([np.zeros(len(errors)), pull @ first, one[0, :1]]))
    kept = np.where(found[0] < SMALLEST * found[0].sum(), 0, found[0])
    return kept / kept.sum()


@dataclass(frozen=True)
class Stacked:
    """Fits of the members and their shares, which sum to one; the fit of a member without a share is not used."""

    fits: tuple[Predict, ...]
    shares: np.ndarray

    def __call__(self, mixes: np.ndarray) -> np.ndarray:
        used = zip(self.shares, self.fits, strict=True)
        return np.sum([share * fit(mixes) for share, fit in used if share], axis=0)
