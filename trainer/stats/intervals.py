"""Confidence intervals of paired effects: t over seeds, widened by the sampling of documents.

trainer.stats.effects computes every reported interval with it. A measured difference has two sources of error. Seeds
vary: with S seeds the standard error is sd / sqrt(S), with S - 1 degrees of freedom. Held-out documents are a sample:
this error is common to all seeds, so the spread over seeds does not show it (trainer.stats.documents estimates it).

With a and b the two standard errors and r = a^2 / (a^2 + b^2), the interval is effect +- reach,

    reach^2 = (a^2 + b^2) (z^2 + (t_seeds^2 - z^2) r^k + (t_documents^2 - z^2) (1 - r)^k),
    k = 1 + 0.7 (alpha / 0.05)^(1/4),

where t and z are the quantiles of Student's t with each part's degrees of freedom and of the normal distribution. It
is the exact t interval if one part is zero. With k = 1 it is reach^2 = (t_seeds a)^2 + (t_documents b)^2 (Cochran,
1964), which covers up to 98.7 % at a nominal 95 % with two seeds; degrees of freedom by Welch and Satterthwaite cover
87 %, because they become many if a variance with one or two degrees of freedom comes out small by chance. The exact
coverage (b known, b^2 / a^2 from 0 to 30) is lowest and highest

    seeds                            2            3            5            8
    95 %, this                  0.935-0.971  0.946-0.961  0.949-0.955  0.950-0.953
    95 %, k = 1                 0.950-0.987  0.950-0.977  0.950-0.965  0.950-0.959
    95 %, Satterthwaite         0.87 -0.951  0.92 -0.950  0.94 -0.950  0.947-0.950

and the probability of an error beyond the interval, as a multiple of alpha, at most 1.29, 1.08, 1.01 at alpha = 0.05
with 2, 3, 5 seeds, 1.7, 1.2, 1.02 at 0.01 and 2.0, 1.4, 1.04 at 0.0017; with k = 1.7 throughout it would be 4.0, 2.2
and 1.4 there.

tests/benchmarks/verdicts.py simulates it with documents of several laws. The p value is the alpha at which the reach
equals the absolute effect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

SHAPE = (0.7, 0.05, 0.25)  # k = 1 + first (alpha / second)^third
SMALLEST = -40.0  # of log(p)
HALVINGS = 56  # of the search for p, which leaves it exact to rounding
RESOLUTION = float(np.finfo(np.float32).eps)  # of a score: losses are summed from 32-bit numbers


@dataclass(frozen=True)
class Errors:
    """Estimates of effects and of their errors, as numbers or arrays of one shape: what reach and p depend on."""

    effect: Any
    seed: Any  # standard error over seeds
    document: Any  # standard error from documents, shared by the seeds
    seeds: int
    degrees: Any  # of freedom of `document`


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval, the parts of its error, and the plain t interval over seeds."""

    effect: float
    low: float
    high: float
    p: float  # for no difference
    p_margin: float  # for a difference of at most the margin
    seed_error: float
    document_error: float
    degrees: float
    t_low: float
    t_high: float


def errors_of(differences: np.ndarray, variances: tuple[Any, Any], degrees: Any, size: Any = 0.0) -> Errors:
    """Return the effect and its errors from paired differences, (..., seeds), at least two.

    `variances` are those of Units.variances with their `degrees`. A score has no more than the relative RESOLUTION, so
    that the error is at least that of the `size` of the scores, unless all differences are zero. Seeds of one mean, as
    of few items that are right or wrong, show nothing of what is their own, and the whole variance is taken.
    """
    seeds = differences.shape[-1]
    both, own = variances
    seed = differences.std(axis=-1, ddof=1) / np.sqrt(seeds)
    effect, whole = differences.mean(axis=-1), np.maximum(both, own)
    alike = seed <= RESOLUTION * np.maximum(np.abs(size), np.abs(effect))
    equal = (differences == 0).all(axis=-1) & (whole == 0)
    seed = np.where(equal, 0.0, np.maximum(seed, RESOLUTION * np.abs(size)))
    document = np.sqrt(np.where(alike, whole, np.maximum(0.0, both - own)))
    return Errors(effect, seed, document, seeds, degrees)


def reach(errors: Errors, alpha: Any) -> Any:
    """Return half the width of the interval at a two-sided error probability."""
    from scipy import special

    half = np.asarray(alpha) / 2
    normal = np.square(special.ndtri(half))
    seed, document = np.square(errors.seed), np.square(errors.document)
    total = np.asarray(seed + document)
    share = np.divide(seed, total, out=np.ones_like(total), where=total > 0)
    by_seed = np.square(special.stdtrit(errors.seeds - 1, half)) - normal
    by_document = np.square(special.stdtrit(np.maximum(errors.degrees, 1.0), half)) - normal
    size, at, power = SHAPE
    k = 1 + size * (np.asarray(alpha) / at) ** power
    return np.sqrt(total * (normal + by_seed * share**k + by_document * (1 - share) ** k))


def p_values(errors: Errors, margin: float = 0.0) -> np.ndarray:
    """Return the alpha at which the interval begins to include a value within the margin; 1 inside it."""
    beyond = np.abs(errors.effect) - margin
    if np.ndim(beyond) == 0:
        return np.asarray(_p_value(errors, float(beyond)))
    low, high = np.full(np.shape(beyond), SMALLEST), np.zeros(np.shape(beyond))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        wide = reach(errors, np.exp(middle)) > beyond
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return np.where(beyond <= 0, 1.0, np.exp(high))


def _p_value(errors: Errors, beyond: float) -> float:
    """Return the same for one effect, in a tenth of the time."""
    from scipy import optimize

    def excess(log_p: float) -> float:
        return float(reach(errors, math.exp(log_p))) - beyond

    if beyond <= 0:
        return 1.0
    if excess(SMALLEST) < 0:
        return math.exp(SMALLEST)
    return math.exp(float(optimize.brentq(excess, SMALLEST, 0.0, xtol=1e-12, rtol=1e-12)))  # type: ignore[arg-type]


def interval(errors: Errors, alpha: float = 0.05, margin: float = 0.0) -> Interval:
    """Return the interval of one effect; `alpha` is the two-sided error probability."""
    from scipy import special

    effect, half = float(errors.effect), float(reach(errors, alpha))
    p = float(p_values(errors))
    t = -float(special.stdtrit(errors.seeds - 1, alpha / 2)) * float(errors.seed)
    return Interval(
        effect=effect,
        low=effect - half,
        high=effect + half,
        p=p,
        p_margin=float(p_values(errors, margin)) if margin else p,
        seed_error=float(errors.seed),
        document_error=float(errors.document),
        degrees=float(errors.degrees),
        t_low=effect - t,
        t_high=effect + t,
    )


def all_alike(effect: float, documents: int, span: float, alpha: float = 0.05, margin: float = 0.0) -> Interval:
    """Return the interval if every run differs from the baseline by the same `effect` on every document.

    The spread is then zero and t degenerate, for example with 9 ties of 9 or 16 wins of 16. The share of documents of a
    kind that is absent among n is at most 1 - (alpha / 2)^(1 / n) (Clopper and Pearson 1934); on such documents the
    difference may be anything from -span to span.
    """
    unseen = 1 - (alpha / 2) ** (1 / documents)
    low, high = effect - unseen * (span + effect), effect + unseen * (span - effect)
    # the alpha at which the interval begins to include zero, or the margin
    p, p_margin = (min(1.0, 2 * ((span + m) / (span + abs(effect))) ** documents) for m in (0.0, margin))
    error = (high - low) / 4
    return Interval(effect, low, high, p, p_margin, 0.0, error, max(1.0, documents - 1.0), effect, effect)
