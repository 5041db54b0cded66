"""Looking more than once at growing numbers of seeds, without more false verdicts than were asked for.

Whoever looks at 3, 5, 8 and 12 seeds and stops at the first p < 0.05 is wrong 12 % of the time, not 5 %. Looks are
therefore declared beforehand and each may spend only a part of the error: `obrien_fleming` hardly anything early,
`pocock` nearly the same at each look (spending functions of Lan and DeMets, 1983).

The boundary is exact for t statistics, not the usual normal limit, which is far off at 3 seeds. For normal
differences, r = sum(d) / sqrt(n * sum(d^2)) is a Markov chain in n: the next difference divided by sqrt(sum(d^2)) is
Student's t with n degrees over sqrt(n), independently of everything before; and |t| = sqrt(n-1) |r| / sqrt(1-r^2).
The chain's distribution is carried from seed to seed on a grid of normal scores, and what a look lets through is cut.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from windtunnel.schemas.errors import RecipeError

LOOKS = (3, 5, 8, 12)
CELLS = 601  # of the grid of normal scores: the error spent comes out within 2e-4 of what was asked
FURTHEST = 7.0  # normal score of the grid's end, beyond which lies 1e-12 of the chance

Spending = Literal["obrien_fleming", "pocock"]


@dataclass(frozen=True)
class Look:
    """One declared look."""

    seeds: int
    spent: float  # chance of a false verdict up to and with this look
    critical: float  # |t| from which the look decides
    level: float  # the two-sided level of that t at this many seeds


def spent(spending: Spending, alpha: float, share: float) -> float:
    """Return how much of `alpha` may be spent when a `share` of all seeds is in."""
    from scipy import special

    if spending == "pocock":
        return alpha * math.log1p((math.e - 1) * share)
    if spending == "obrien_fleming":
        return 4 * float(special.ndtr(special.ndtri(alpha / 4) / math.sqrt(share)))  # alpha / 2 on each side
    raise RecipeError(f"no spending is called {spending!r}: there is obrien_fleming, pocock")


@cache
def boundary(
    looks: tuple[int, ...] = LOOKS, alpha: float = 0.05, spending: Spending = "obrien_fleming"
) -> tuple[Look, ...]:
    """Return the critical values of declared looks; the chance to cross any of them by luck is `alpha`.

    Raises RecipeError unless looks grow and start at two seeds or more.
    """
    from scipy import special

    if not looks or looks[0] < 2 or any(b <= a for a, b in itertools.pairwise(looks)):
        raise RecipeError(f"looks are growing numbers of seeds from 2 on, not {list(looks)}")
    scores = np.linspace(-FURTHEST, FURTHEST, CELLS + 1)
    mass = np.diff(special.ndtr(scores))
    n, before, found = looks[0], 0.0, []
    for seeds in looks:
        while n < seeds:
            mass = _transition(scores, n).T @ mass
            n += 1
        now = spent(spending, alpha, seeds / looks[-1])
        score, mass = _cut(scores, mass, now - before)
        level = 2 * float(special.ndtr(-score)) if found else now  # nothing was cut before the first look
        found.append(Look(seeds, now, -float(special.stdtrit(seeds - 1, level / 2)), level))
        before = now
    return tuple(found)


def _angles(scores: np.ndarray, n: int) -> np.ndarray:
    """Return arcsin(r) at n seeds for the normal scores of its distribution, the ends at +-pi/2."""
    from scipy import special

    t = np.sign(scores) * -special.stdtrit(n - 1, special.ndtr(-np.abs(scores)))
    return np.where(np.abs(scores) >= FURTHEST, np.sign(scores) * math.pi / 2, np.arctan(t / math.sqrt(n - 1)))


def _transition(scores: np.ndarray, n: int) -> np.ndarray:
    """Return the chance to go from cell i at n seeds to cell j at n + 1 seeds, (cells, cells).

    With y = tan(b) the next difference over sqrt(sum of squares), and a = sqrt(n) r, the new r is
    sqrt(1 + a^2) / sqrt(n + 1) * sin(b + arctan(a)): at most two stretches of b lie below a given r.
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
    """Return a table of the chance that arctan of t / sqrt(n) lies below an angle: 20 times faster than t itself."""
    from scipy import special

    angles = np.linspace(-math.pi / 2, math.pi / 2, 20_001)
    return angles, special.stdtr(n, math.sqrt(n) * np.tan(angles))


def _cut(scores: np.ndarray, mass: np.ndarray, amount: float) -> tuple[float, np.ndarray]:
    """Return the score beyond which `amount` lies on both sides together, and the mass inside it."""
    half = CELLS // 2 + 1
    outside = np.concatenate([[0.0], np.cumsum(mass + mass[::-1])])[:half]
    score = -float(np.interp(amount, outside, scores[:half]))
    inside = np.clip((np.minimum(scores[1:], score) - np.maximum(scores[:-1], -score)) / np.diff(scores), 0, 1)
    return score, mass * inside
