"""The mix that a mixing law proposes to run next, subject to the available text.

`windtunnel law --propose` calls it on a law fitted by trainer.stats.law.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from scipy.optimize import linprog

from windtunnel.schemas.errors import InputError, RecipeError, nearest
from windtunnel.trainer.stats.law import LEVEL, Law, predictions
from windtunnel.trainer.stats.selection import Pool, Worlds, simulated

DRAWS = 20_000
KEPT = 300  # mixes that each round adds
REFINED = 12
BEYOND = 1.1  # a cluster's share in a mix of other domains, relative to the largest in the runs; at 1, rays get stuck
STEPS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02)  # relative change of weights, by round


@dataclass(frozen=True)
class Supply:
    """Constraints on a mix: available tokens by domain, the budget in tokens, and the maximum number of epochs."""

    tokens: Mapping[str, float]
    budget: float
    max_epochs: float

    def __post_init__(self) -> None:
        """Raise RecipeError for a number that is not above zero."""
        numbers = {f"the tokens of {name!r}": number for name, number in self.tokens.items()}
        for what, number in {**numbers, "the budget": self.budget, "max_epochs": self.max_epochs}.items():
            if not (isinstance(number, Real) and 0 < number < float("inf")):
                raise RecipeError(f"{what}: a number above zero is needed, not {number!r}")

    def most(self, domains: tuple[str, ...]) -> np.ndarray:
        """Return the largest weight of each domain. Raises RecipeError for a domain without a number of tokens."""
        for name in self.tokens:
            if name not in domains:
                raise RecipeError(f"no domain is called {name!r}: {nearest(name, domains)}")
        if missing := [name for name in domains if name not in self.tokens]:
            raise RecipeError(f"the number of tokens of {', '.join(missing)} is missing: every domain needs one")
        most = np.array([self.max_epochs * self.tokens[name] / self.budget for name in domains])
        if most.sum() < 1:
            total = sum(self.tokens.values())
            raise RecipeError(
                f"a budget of {self.budget:,.0f} tokens needs {self.budget / total:.2f} epochs of the {total:,.0f} "
                f"available, above the limit of {self.max_epochs:g}; {int(self.max_epochs * total):,} is possible"
            )
        return np.minimum(most, 1.0)


def propose(law: Law, supply: Supply | None = None, seed: int = 0, level: float = LEVEL) -> dict[str, Any]:
    """Return the mix with the lowest upper bound: weights, predicted, low, high, and the best mix of the runs.

    `predicted` and the interval (low, high; None with too few mixes) are those of a run of the mix, corrected for its
    being chosen among many (trainer.stats.selection); `uncorrected` is the plain prediction. The weight of a domain is
    at most its largest weight in the runs, because the law does not extrapolate, and at most what `supply` allows, for
    which `epochs` are given. With coordinates, `supply` may be of other domains: the mix is then one of them, and its
    share of each cluster, rather than of each domain, is at most BEYOND times the largest in the runs. `status` is
    always "unconfirmed": only fresh runs tell that a mix is better. The search is deterministic for a seed.
    """
    if not np.ptp(law.target):
        raise InputError("every mix of the runs has the same target: there is nothing to choose a mix by")
    room = _room(law, supply)
    worlds, rng = simulated(law, seed), np.random.default_rng(seed)
    pool = _searched(law, worlds, room, rng)
    chosen = int(np.argmin(pool.bound))
    weights, plain = pool.mixes[chosen], float(pool.predicted[chosen])
    middle, low, high = worlds.corrected(plain, pool, level)
    best = int(np.argmin(law.target))
    result: dict[str, Any] = {
        "status": "unconfirmed",
        "weights": dict(zip(room.domains, weights.tolist(), strict=True)),
        "predicted": middle,
        "low": None if law.no_interval else low,
        "high": None if law.no_interval else high,
        "uncorrected": plain,
        "best_run": {
            "weights": dict(zip(law.domains, law.weights[best].tolist(), strict=True)),
            "target": float(law.target[best]),
            "left_out": float(law.best.left_out[best]),
        },
    }
    if supply is not None:
        epochs = {name: weight * supply.budget / supply.tokens[name] for name, weight in result["weights"].items()}
        result["epochs"] = epochs
    return result


@dataclass(frozen=True)
class _Room:
    """The mixes that may be proposed: weights of `domains` up to `cap`, and some of them, `known` [mixes, domains].

    With `shares` [domains, clusters] the content of a mix is at most `most` [clusters] too, as that of known[0] is.
    """

    domains: tuple[str, ...]
    cap: np.ndarray
    known: np.ndarray
    shares: np.ndarray | None = None
    most: np.ndarray | None = None

    def keep(self, mixes: np.ndarray) -> np.ndarray:
        """Return mixes [n, domains] moved into the room: into the caps, then towards known[0] until content fits."""
        mixes = within(mixes, self.cap)
        if self.shares is None:
            return mixes
        centre = self.known[0]
        away = (mixes - centre) @ self.shares
        left = np.maximum(self.most - centre @ self.shares, 0)
        far = np.divide(left, away, out=np.ones_like(away), where=away > left).min(axis=1, keepdims=True)
        return centre + far * (mixes - centre)


def _room(law: Law, supply: Supply | None) -> _Room:
    """Return the mixes that the runs and the supply allow. Raises RecipeError where there is none."""
    cap = law.weights.max(axis=0)
    if supply is None:
        return _Room(law.domains, cap, law.weights)
    if law.coordinates is not None and not set(supply.tokens) <= set(law.domains):
        return _room_of_others(law, supply)
    cap = np.minimum(cap, supply.most(law.domains))
    if cap.sum() < 1:
        raise RecipeError(
            "the limits on epochs and the largest weights of the runs allow no mix: run more diverse mixes"
        )
    return _Room(law.domains, cap, law.weights)


def _room_of_others(law: Law, supply: Supply) -> _Room:
    """Return the mixes of the supply's domains whose content is within that of the runs; first the innermost one."""
    domains = tuple(supply.tokens)
    shares, most = law.at(np.eye(len(domains)), domains), BEYOND * law.at(law.weights).max(axis=0)
    alone = np.divide(most, shares, out=np.full_like(shares, np.inf), where=shares > 0).min(axis=1)
    cap = np.minimum(supply.most(domains), alone)  # no domain may pass the limit of a cluster by itself
    found = linprog(  # the weights, then the margin that they leave in every cluster
        np.append(np.zeros(len(domains)), -1.0),
        A_ub=np.column_stack([shares.T, most]),
        b_ub=most,
        A_eq=np.append(np.ones(len(domains)), 0.0)[None],
        b_eq=[1.0],
        bounds=[*((0.0, float(c)) for c in cap), (None, 1.0)],
    )
    if found.x is None or found.x[-1] < -1e-9:
        raise RecipeError(
            f"no mix of {', '.join(domains)} within the limits on epochs has a content like that of the runs: run "
            "mixes of them, or allow more epochs"
        )
    return _Room(domains, cap, np.maximum(found.x[None, :-1], 0), shares, most)


def _searched(law: Law, worlds: Worlds, room: _Room, rng: np.random.Generator) -> Pool:
    """Return mixes among which those with the lowest bounds are: random ones, then ever closer to the best."""

    def pooled(mixes: np.ndarray) -> Pool:
        return worlds.pool(mixes, law.at(mixes, room.domains))

    drawn = _draws(room, rng)
    predicted = predictions(law.best.form, law.best.whole, law.at(drawn, room.domains))
    likely = drawn[np.argsort(predicted, kind="stable")[:KEPT]]
    pool = pooled(np.concatenate([likely, room.keep(room.known)]))
    for step in STEPS:
        centres = pool.mixes[np.argsort(pool.bound, kind="stable")[:REFINED]]
        near = centres[rng.integers(len(centres), size=KEPT)]
        scaled = near * np.exp(step * rng.normal(size=near.shape))
        shifted = near + step * rng.dirichlet(np.full(len(room.cap), 0.3), len(near))
        pool = pool.joined(pooled(room.keep(np.where(rng.random((len(near), 1)) < 0.5, scaled, shifted))))
    return pool


def _draws(room: _Room, rng: np.random.Generator) -> np.ndarray:
    """Return mixes in the room: the known ones (those of the runs), convex combinations of them, and random ones."""
    n = len(room.known)
    share = rng.dirichlet(np.full(n, 2.0 / n), DRAWS // 2) @ room.known
    spread = rng.exponential(1.0, (DRAWS - DRAWS // 2, len(room.cap))) * room.cap
    return room.keep(np.concatenate([room.known, share, spread]))


def within(mixes: np.ndarray, cap: np.ndarray) -> np.ndarray:
    """Return mixes [n, domains] within the caps that sum to one; excess weight is distributed proportionally."""
    mixes = (
        mixes / mixes.sum(axis=1, keepdims=True) + 1e-9 * cap
    )  # domains without weight receive some only as a last resort
    factors = np.divide(cap, mixes, out=np.ones_like(mixes), where=mixes > 0)
    low, high = np.ones(len(mixes)), np.maximum(factors.max(axis=1), 1.0)
    for _ in range(64):  # bisection for the factor at which the capped row sums to one
        middle = np.sqrt(low * high)
        enough = np.minimum(cap, middle[:, None] * mixes).sum(axis=1) >= 1
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    capped = np.minimum(cap, high[:, None] * mixes)
    return capped / capped.sum(axis=1, keepdims=True)
