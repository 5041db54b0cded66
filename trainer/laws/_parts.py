"""A law for the mean of several targets: one law for each, averaged.

The loss on one kind of text depends on few domains, the mean of many losses on all of them; so the parts are learnt
from fewer runs than their mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from windtunnel.trainer.laws._form import LawForm, Predict


@dataclass(frozen=True)
class Averaged:
    """The fits of all targets; calling it returns the mean of their predictions."""

    fits: tuple[Predict, ...]

    def __call__(self, mixes: np.ndarray) -> np.ndarray:
        return np.mean([fit(mixes) for fit in self.fits], axis=0)


def fitted(form: LawForm, weights: np.ndarray, measured: np.ndarray, near: Predict | None = None) -> Predict:
    """Return the fit of a form to targets `measured` [mixes, targets], or the form's own for a single target."""
    if measured.shape[1] == 1:
        return form.fit(weights, measured[:, 0], near)
    before = near.fits if isinstance(near, Averaged) else (None,) * measured.shape[1]
    return Averaged(tuple(form.fit(weights, each, one) for each, one in zip(measured.T, before, strict=True)))


def each_at(predict: Predict, mixes: np.ndarray) -> np.ndarray:
    """Return what a fit predicts for every target, [mixes, targets]."""
    return np.stack([fit(mixes) for fit in (predict.fits if isinstance(predict, Averaged) else (predict,))], axis=1)
