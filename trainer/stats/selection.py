"""What choosing the best of many predictions costs, by simulation.

The mix with the lowest prediction is often one whose prediction is too low (the optimiser's curse, Smith and Winkler
2006). Here the fitted law stands for the truth: runs are drawn from it with the errors of left-out mixes, the form is
fitted to them anew, the search for the best mix is repeated, and the shortfall of each chosen mix, what the law says it
is worth less what the new fit promised, corrects the prediction and widens its interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.laws._form import Predict
from windtunnel.trainer.laws._parts import each_at, fitted
from windtunnel.trainer.stats.law import Fit, Law, predictions

WORLDS = 48
WORLDS_OF_SEVERAL = 12  # where the target is the mean of several, each with its own fit
CAUTION = 1.0  # deviations of the prediction that are added to it where mixes are chosen


@dataclass(frozen=True)
class Pool:
    """Mixes to choose from, [mixes, domains], with the prediction of the law and of the refits [worlds, mixes]."""

    mixes: np.ndarray
    predicted: np.ndarray
    promised: np.ndarray

    @property
    def bound(self) -> np.ndarray:
        """Return the upper bound [mixes] by which mixes are chosen: the prediction and its deviation over worlds."""
        return self.predicted + CAUTION * self.promised.std(axis=0)

    def shortfalls(self) -> np.ndarray:
        """Return by how much the mix that each world chooses is worse than promised, [worlds]."""
        chosen = np.argmin(self.promised + CAUTION * self.promised.std(axis=0), axis=1)
        return self.predicted[chosen] - self.promised[np.arange(len(chosen)), chosen]

    def joined(self, other: Pool) -> Pool:
        promised = np.concatenate([self.promised, other.promised], axis=1)
        predicted = np.concatenate([self.predicted, other.predicted])
        return Pool(np.concatenate([self.mixes, other.mixes]), predicted, promised)


@dataclass(frozen=True)
class Worlds:
    """Fits of one form to simulated runs, beside the fit to the real ones."""

    fit: Fit
    refits: tuple[Predict, ...]
    errors: np.ndarray  # [runs], of left-out mixes; those of a new run

    def pool(self, mixes: np.ndarray, content: np.ndarray) -> Pool:
        """Return mixes with what the law and every refit predict for their `content` (`Law.at`)."""
        promised = np.stack([predictions(self.fit.form, refit, content) for refit in self.refits])
        return Pool(mixes, predictions(self.fit.form, self.fit.whole, content), promised)

    def corrected(self, predicted: float, pool: Pool, level: float) -> tuple[float, float, float]:
        """Return (expected, low, high) of a run of the chosen mix, whose plain prediction is `predicted`."""
        shortfalls = pool.shortfalls()
        spread = shortfalls[:, None] + self.errors
        low, high = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2])
        expected = max(0.0, float(shortfalls.mean()))  # being chosen makes no mix better
        return predicted + expected, predicted + float(low), predicted + max(float(high), expected)


def simulated(law: Law, seed: int = 0) -> Worlds:
    """Return the worlds of a law; deterministic for a seed. A world to which the form does not apply is drawn again."""
    rng, fit, n = np.random.default_rng([seed, 1]), law.best, len(law.target)
    errors = law.target - fit.left_out
    content = law.at(law.weights)
    true = each_at(fit.whole, content)
    apart = _errors_of_each(law, errors, true)
    worlds = WORLDS if true.shape[1] == 1 else WORLDS_OF_SEVERAL
    refits: list[Predict] = []
    for _ in range(3 * worlds):
        if len(refits) == worlds:
            break
        drawn = true + apart[rng.integers(n, size=n)] * rng.choice([-1.0, 1.0], n)[:, None]
        try:
            refits.append(fitted(fit.law_form, content, drawn, fit.whole))
        except InputError:  # for example a target below zero under a log-linear law
            continue
    return Worlds(fit, tuple(refits) or (fit.whole,), errors)


def _errors_of_each(law: Law, errors: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return errors [mixes, targets] whose mean over targets is as large as those of left-out mixes."""
    if true.shape[1] == 1:
        return errors[:, None]
    apart = law.measured - true
    within = float(np.square(apart.mean(axis=1)).mean())
    return apart * np.sqrt(np.square(errors).mean() / within) if within > 0 else apart
