"""Checks a form of law: it recovers a target of its own form, and predicts finite values where the target is noisy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from windtunnel.schemas.finding import Finding, finding
from windtunnel.trainer.laws._form import LawForm

DOMAINS = 3
RUNS = 30
TOLERANCE = 0.1  # of the spread of the target
NOISE = 0.3  # of the same


def check(cls: type[LawForm]) -> Iterator[Finding]:
    """Yield the outcome of every property."""
    for params in cls.examples:
        form, what = cls(**params), f" with {dict(params)}" if params else ""
        yield finding(f"recovers a target of its form{what}", lambda form=form: _recovers(form))
        yield finding(f"predicts finite values from noisy runs{what}", lambda form=form: _finite(form))


def _mixes(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(DOMAINS, 0.8), RUNS)


def _recovers(form: LawForm) -> str | None:
    seen, new = _mixes(0), _mixes(1)
    target = form.planted(new)
    predict = form.fit(seen, form.planted(seen))
    error = float(np.abs(predict(new) - target).max() / np.ptp(target))
    if not error <= TOLERANCE:
        return (
            f"mixes that were not seen are missed by {error:.1%} of the spread of the target, at most {TOLERANCE:.0%}"
        )
    again = form.fit(seen, form.planted(seen))
    return None if np.array_equal(again(new), predict(new)) else "a second fit of the same runs predicts other values"


def _finite(form: LawForm) -> str | None:
    seen, new = _mixes(2), np.concatenate([_mixes(3), np.eye(DOMAINS)])
    target = form.planted(seen)
    noise = np.random.default_rng(4).normal(0, NOISE * np.ptp(target), RUNS)
    predicted = form.fit(seen, target + noise - min(0.0, float(noise.min())))(new)
    if predicted.shape != (len(new),):
        return f"{len(new)} mixes get predictions of the shape {predicted.shape}"
    return (
        None if np.isfinite(predicted).all() else f"{int((~np.isfinite(predicted)).sum())} predictions are not finite"
    )
