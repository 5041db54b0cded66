"""Group sequential analysis: repeated looks at an increasing number of seeds with a controlled type I error.

trainer.stats.effects uses its boundaries. Stopping at the first p < 0.05 of looks at 3, 5, 8 and 12 seeds has a type I
error of 12 %, not 5 %. Looks are therefore declared in advance and each spends a part of the error (spending functions
of Lan and DeMets, 1983): `power` alpha t^1.5 at the share t of all seeds (Kim and DeMets, 1987), `obrien_fleming` very
little at early looks, `pocock` nearly the same at each. With looks at 3, 5, 8, 12 seeds, the critical |t| at 3 seeds is
12.6, 260 and 7.4, the power at an effect of one standard deviation .83, .87 and .77, and the mean number of seeds at
three standard deviations 5.1, 6.9 and 4.5 (40,000 simulated tables): `power` lets a first look decide what is clear,
and is the default.

A look that was not declared has spent its whole level already; a fifth of it is the level of the next one. After
3 seeds at 5 %, a second look at 1 % brings the type I error to about 6 %, and no number of further looks beyond 6.25 %.

The boundaries are exact for t statistics; the usual normal approximation is inaccurate at 3 seeds. For normal
differences, r = sum(d) / sqrt(n * sum(d^2)) is a Markov chain in n: the next difference divided by sqrt(sum(d^2)) has
Student's t distribution with n degrees of freedom, divided by sqrt(n), independently of the past; and
|t| = sqrt(n-1) |r| / sqrt(1-r^2). The distribution of the chain is propagated on a grid of normal scores, and the mass
beyond the boundary of each look is removed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.results import LEFT

LOOKS = (3, 5, 8, 12)
CELLS = 601  # of the grid of normal scores; the spent error is accurate to 2e-4
MOST_SEEDS = 200  # of declared looks, whose boundaries are computed seed by seed
FURTHEST = 7.0  # normal score at the end of the grid; the probability beyond is 1e-12

POWER = 1.5  # exponent of the spending function `power`

Spending = Literal["power", "obrien_fleming", "pocock"]
SPENDING: tuple[Spending, ...] = ("power", "obrien_fleming", "pocock")


@dataclass(frozen=True)
class Look:
    """One declared interim analysis."""

    seeds: int
    spent: float  # type I error spent up to and including this look
    critical: float  # critical value of |t|
    level: float  # two-sided significance level of the critical value


def spent(spending: Spending, alpha: float, share: float) -> float:
    """Return the part of `alpha` spent when a `share` of all seeds is available."""
    from scipy import special

    if spending == "power":
        return alpha * share**POWER
    if spending == "pocock":
        return alpha * math.log1p((math.e - 1) * share)
    if spending == "obrien_fleming":
        return 4 * float(special.ndtr(special.ndtri(alpha / 4) / math.sqrt(share)))  # alpha / 2 on each side
    raise RecipeError(f"no spending function is called {spending!r}: available: {', '.join(SPENDING)}")


@dataclass(frozen=True)
class Level:
    """The error probability at which an analysis is judged, and the looks before and after it.

    `alpha` is that of this look; `plan` are the declared looks; `after` the numbers of seeds of undeclared looks before
    it; `waiting` is the next declared look, in seeds, where there is none at the present number: nothing is decided.
    """

    alpha: float
    plan: tuple[Look, ...] = ()
    after: tuple[int, ...] = ()
    waiting: int | None = None

    @property
    def next_alpha(self) -> float:
        """Return the level of a later look that is not declared."""
        return self.alpha / LEFT


def level_of(
    seeds: int, level: float = 0.95, looks: Sequence[int] = (), spending: Spending = "power", after: Sequence[int] = ()
) -> Level:
    """Return the level of an analysis of so many seeds, of nominal coverage `level`.

    Raises InputError after the last declared look, RecipeError for looks that cannot be.
    """
    alpha = round(1 - level, 12)
    if looks:
        if after:
            raise RecipeError("`looks` declares looks in advance, `after` names undeclared ones: give one of them")
        plan = boundary(tuple(looks), alpha, spending)
        if seeds > plan[-1].seeds:
            raise InputError(
                f"the looks end at {plan[-1].seeds} seeds and there are {seeds}: the error probability is spent; "
                "declare more looks before running, or use the first seeds only"
            )
        look = next(look for look in plan if look.seeds >= seeds)
        return Level(look.level, plan, (), look.seeds if look.seeds != seeds else None)
    if after and (after[0] < 2 or any(b <= a for a, b in itertools.pairwise(after))):
        raise RecipeError(f"`after` are increasing numbers of seeds from 2 on, not {list(after)}")
    if after and after[-1] >= seeds:
        raise RecipeError(
            f"`after` says that the result was looked at with {after[-1]} seeds, and there are {seeds}: it names only "
            "looks with fewer seeds than now"
        )
    return Level(alpha / LEFT ** len(after), (), tuple(after))


@cache
def boundary(looks: tuple[int, ...] = LOOKS, alpha: float = 0.05, spending: Spending = "power") -> tuple[Look, ...]:
    """Return the boundaries of declared looks, with an overall type I error of `alpha`.

    Raises RecipeError unless looks are increasing and start at two seeds or more.
    """
    from scipy import special

    if not looks or looks[0] < 2 or any(b <= a for a, b in itertools.pairwise(looks)):
        raise RecipeError(f"looks must be increasing numbers of seeds from 2 on, not {list(looks)}")
    if looks[-1] > MOST_SEEDS:
        raise RecipeError(f"looks are declared for at most {MOST_SEEDS} seeds, not {looks[-1]}")
    scores = np.linspace(-FURTHEST, FURTHEST, CELLS + 1)
    mass = np.diff(special.ndtr(scores))
    n, before, result = looks[0], 0.0, []
    for seeds in looks:
        while n < seeds:
            mass = _transition(scores, n).T @ mass
            n += 1
        now = spent(spending, alpha, seeds / looks[-1])
        score, mass = _cut(scores, mass, now - before)
        level = 2 * float(special.ndtr(-score)) if result else now  # no mass is removed before the first look
        result.append(Look(seeds, now, -float(special.stdtrit(seeds - 1, level / 2)), level))
        before = now
    return tuple(result)


def _angles(scores: np.ndarray, n: int) -> np.ndarray:
    """Return arcsin(r) at n seeds for the normal scores of its distribution; the ends are +-pi/2."""
    from scipy import special

    t = np.sign(scores) * -special.stdtrit(n - 1, special.ndtr(-np.abs(scores)))
    return np.where(np.abs(scores) >= FURTHEST, np.sign(scores) * math.pi / 2, np.arctan(t / math.sqrt(n - 1)))


def _transition(scores: np.ndarray, n: int) -> np.ndarray:
    """Return the transition probabilities from cell i at n seeds to cell j at n + 1 seeds, (cells, cells).

    With y = tan(b) the next difference over sqrt(sum of squares), and a = sqrt(n) r, the new r is
    sqrt(1 + a^2) / sqrt(n + 1) * sin(b + arctan(a)): at most two intervals of b give values below a given r.
    """
    a = math.sqrt(n) * np.sin(_angles((scores[:-1] + scores[1:]) / 2, n))[:, None]
    turn = np.arctan(a)
    level = np.clip(np.sin(_angles(scores, n + 1)) * math.sqrt(n + 1) / np.sqrt(1 + a**2), -1, 1)
    psi = np.arcsin(level)

    angles, chances = _student(n)

    def below(b: np.ndarray) -> np.ndarray:
        return np.interp(b, angles, chances)

    cdf = below(psi - turn) - below(-math.pi - psi - turn) + 1 - below(math.pi - psi - turn)
    return np.diff(cdf, axis=1)


def _student(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a table of the distribution of arctan(t / sqrt(n)), which is 20 times faster than evaluating t."""
    from scipy import special

    angles = np.linspace(-math.pi / 2, math.pi / 2, 20_001)
    return angles, special.stdtr(n, math.sqrt(n) * np.tan(angles))


def _cut(scores: np.ndarray, mass: np.ndarray, amount: float) -> tuple[float, np.ndarray]:
    """Return the score beyond which the two tails have mass `amount`, and the remaining mass."""
    half = CELLS // 2 + 1
    outside = np.concatenate([[0.0], np.cumsum(mass + mass[::-1])])[:half]
    score = -float(np.interp(amount, outside, scores[:half]))
    inside = np.clip((np.minimum(scores[1:], score) - np.maximum(scores[:-1], -score)) / np.diff(scores), 0, 1)
    return score, mass * inside
