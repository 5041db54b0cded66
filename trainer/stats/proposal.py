"""The mix with the best prediction of a mixing law, subject to the available text.

`windtunnel law --propose` calls it on a law fitted by trainer.stats.law.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from scipy.optimize import minimize

from windtunnel.schemas.errors import RecipeError, nearest
from windtunnel.trainer.laws._form import Predict
from windtunnel.trainer.stats.law import Law

DRAWS = 20_000
REFINED = 12


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


def propose(law: Law, supply: Supply | None = None, seed: int = 0) -> dict[str, Any]:
    """Return the mix with the lowest prediction: weights, predicted, low, high, epochs, and the best mix of the runs.

    The weight of a domain is at most its largest weight in the runs, because the law does not extrapolate, and at most
    what `supply` allows. The search samples mixes near the runs and refines the best; it is deterministic for a seed.
    """
    cap = law.weights.max(axis=0)
    if supply is not None:
        cap = np.minimum(cap, supply.most(law.domains))
        if cap.sum() < 1:
            raise RecipeError(
                "the limits on epochs and the largest weights of the runs allow no mix: run more diverse mixes"
            )
    drawn = _draws(law, cap, np.random.default_rng(seed))
    predict = law.best.whole
    order = np.argsort(predict(drawn), kind="stable")[:REFINED]
    refined = np.stack([_refined(predict, start, cap) for start in drawn[order]] + [drawn[order[0]]])
    weights = refined[int(np.argmin(predict(refined)))]
    middle, low, high = (float(value[0]) for value in law.predict(weights[None]))
    best = int(np.argmin(law.target))
    result: dict[str, Any] = {
        "weights": dict(zip(law.domains, weights.tolist(), strict=True)),
        "predicted": middle,
        "low": None if np.isnan(low) else low,
        "high": None if np.isnan(high) else high,
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


def _draws(law: Law, cap: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return mixes within the caps: those of the runs, convex combinations of them, and random ones."""
    n = len(law.weights)
    share = rng.dirichlet(np.full(n, 2.0 / n), DRAWS // 2) @ law.weights
    spread = rng.exponential(1.0, (DRAWS - DRAWS // 2, len(cap))) * cap
    return within(np.concatenate([law.weights, share, spread]), cap)


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


def _refined(predict: Predict, start: np.ndarray, cap: np.ndarray) -> np.ndarray:
    optimum = minimize(
        lambda mix: float(predict(mix[None])[0]),
        start,
        method="SLSQP",
        bounds=[(0.0, float(c)) for c in cap],
        constraints={"type": "eq", "fun": lambda mix: mix.sum() - 1},
        options={"maxiter": 100},
    )
    mix = np.clip(optimum.x, 0, cap)
    return within(mix[None], cap)[0] if np.isfinite(mix).all() and mix.sum() > 0 else start
