"""The interval of a paired effect: t over seeds, widened by what a bootstrap says of the documents.

Two things make a measured difference wander. Another seed gives another difference: with S seeds the standard error is
sd / sqrt(S), and t with S - 1 degrees of freedom accounts for sd being a guess from few seeds. Another draw of held-out
documents gives another difference too, in *all* seeds alike, which the spread over seeds cannot show.

The bootstrap resamples documents, once for all seeds, and gives a table of differences (seeds x draws). Its variance
over draws has a part that is each seed's own (already inside sd) and a part that seeds share. The reported interval is

    effect +- t(degrees) * sqrt(sd^2 / S + shared),      degrees by Welch and Satterthwaite,

so it is the t interval when documents add nothing, and the bootstrap's when documents are what limits the answer.

Why not one of the two, or the wider? Simulated coverage of nominal 95 % intervals, 3 seeds, 120 documents in 4 sources,
1,500 tables each (tests/benchmarks/interval_coverage.py):

    noise                                   this     t over seeds   bootstrap   wider of the two
    seeds only                              0.95     0.95           0.76        0.95
    every score by itself                   0.96     0.95           1.00        1.00
    documents only, alike in all seeds      0.94     0.02           0.93        0.93
    seeds and documents                     0.94     0.82           0.92        0.94
    all three                               0.95     0.89           0.97        0.98

t alone calls a lucky draw of documents an effect. The wider of the two is safe but wasteful: with noise of single
scores, A against A gives 0.3 % verdicts where 5 % were asked for, which is power thrown away.

Sources: crossed random effects after Owen, "The pigeonhole bootstrap" (2007); Cameron, Gelbach and Miller, "Robust
inference with multiway clustering" (2011); rescaled draws of n - 1 after Rao and Wu (1988), which makes the bootstrap
variance unbiased for few clusters or seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from windtunnel.trainer.stats.paired import Panel

CLUSTERS_FROM = 20  # with fewer, the spread between sources is itself a guess, and sources are named targets
MOST_BAGS = 4096  # groups of documents are pooled into at most so many, so that memory does not grow with them


@dataclass(frozen=True)
class Interval:
    """An estimate with the interval, its parts, and both plain intervals beside it."""

    effect: float
    low: float
    high: float
    p: float
    seed_error: float
    document_error: float
    degrees: float
    t_low: float
    t_high: float
    bootstrap_low: float
    bootstrap_high: float


@dataclass(frozen=True)
class Resampled:
    """The metric of every run under resampled documents, (mixes, seeds, draws), and the degrees of freedom of that."""

    values: np.ndarray
    degrees: float


def resample(panel: Panel, draws: int = 2000, seed: int = 0) -> Resampled:
    """Draw the documents again and again, the same draw for all mixes and seeds.

    From CLUSTERS_FROM sources on, sources are drawn whole, because documents of one site or book go together.
    Fewer sources are the domains that the question names: each keeps its share and documents are drawn within, those
    of one group together.
    """
    clustered = len(panel.sources) >= CLUSTERS_FROM
    strata = np.zeros_like(panel.source) if clustered else panel.source
    most = MOST_BAGS // (1 if clustered else len(panel.sources))
    rng = np.random.default_rng([seed, 0])
    top = np.zeros((*panel.values.shape[:2], draws))
    bottom = np.zeros(draws)
    drawn = []  # weights of what is drawn, by stratum
    for stratum in range(int(strata.max()) + 1):
        at = np.flatnonzero(strata == stratum)
        labels = panel.source[at] if clustered else np.unique(panel.groups()[at], return_inverse=True)[1]
        bag = labels % most
        bags = int(bag.max()) + 1
        counts = _counts(rng, bags, draws)
        drawn.append(np.bincount(bag, panel.weights[at], minlength=bags))
        bottom += drawn[-1] @ counts.T
        runs = panel.values.reshape(-1, len(panel.weights))
        sums = np.stack([np.bincount(bag, run[at], minlength=bags) for run in runs])
        top += (sums @ counts.T).reshape(top.shape)
    return Resampled(top / bottom, degrees_of(drawn))


def degrees_of(strata: Sequence[np.ndarray]) -> float:
    """Return the degrees of freedom of a variance over documents, given the weights of what is drawn in each stratum.

    A stratum counts as its effective number of documents, (sum w)^2 / sum w^2 (Kish 1965), less one: when a few long
    ones carry the bytes, that is few, and t with as many degrees as documents would call their luck an effect.
    Satterthwaite's number for squared weights, sum^2 of w^2 over sum of w^4, is still smaller, and in simulations of
    such tables leaves 1 to 3 % verdicts where 5 % were asked for.
    """
    several = [weights for weights in strata if len(weights) > 1]  # what stands alone in its stratum never varies
    found = sum(float(weights.sum() ** 2 / np.square(weights).sum() - 1) for weights in several)
    return max(1.0, found) if several else 0.0


def _counts(rng: np.random.Generator, n: int, draws: int) -> np.ndarray:
    """Return how often each of n things is drawn, (draws, n): n - 1 draws with replacement, scaled up to n."""
    if n == 1:
        return np.ones((draws, 1))
    picked = rng.integers(0, n, size=(draws, n - 1)) + n * np.arange(draws)[:, None]
    return np.bincount(picked.ravel(), minlength=draws * n).reshape(draws, n) * (n / (n - 1))


def interval(
    differences: np.ndarray, resampled: np.ndarray, degrees: float, alpha: float = 0.05, seed: int = 0
) -> Interval:
    """Return the interval of the mean of paired differences.

    `differences` is (seeds,), at least two; `resampled` the same under resampled documents, (seeds, draws), with
    `degrees` of freedom; `alpha` is the chance that the interval misses, both sides together.
    """
    from scipy import special

    n, draws = resampled.shape
    effect = float(differences.mean())
    seed_variance = float(differences.var(ddof=1)) / n
    document_variance, own = document_variances(resampled)
    shared = max(0.0, document_variance - own)
    total = seed_variance + shared
    parts = [(seed_variance, n - 1.0)]
    if shared > 0:  # a difference of two guesses is less sure than either
        parts += [(document_variance, degrees), (own, degrees * (n - 1))]
    fewest = min(n - 1.0, degrees) if shared > 0 else n - 1.0
    nu = max(fewest, float(satterthwaite(total, parts)))
    error = float(np.sqrt(total))
    p = 2 * float(special.stdtr(nu, -abs(effect) / error)) if error > 0 else float(effect == 0)
    reach = float(special.stdtrit(nu, 1 - alpha / 2)) * error
    t_reach = float(special.stdtrit(n - 1, 1 - alpha / 2)) * float(np.sqrt(seed_variance))
    weights = _counts(np.random.default_rng([seed, 1]), n, draws) / n
    means = np.einsum("bs,sb->b", weights, resampled)
    low, high = np.quantile(means, [alpha / 2, 1 - alpha / 2])
    return Interval(
        effect=effect,
        low=effect - reach,
        high=effect + reach,
        p=p,
        seed_error=float(np.sqrt(seed_variance)),
        document_error=float(np.sqrt(shared)),
        degrees=nu,
        t_low=effect - t_reach,
        t_high=effect + t_reach,
        bootstrap_low=float(low),
        bootstrap_high=float(high),
    )


def all_alike(effect: float, documents: int, span: float, seeds: int, alpha: float = 0.05) -> Interval:
    """Return the interval when every run differs from the baseline by the same `effect` on every document.

    The spread is zero then, and t would call that certain: equal on 9 of 9, or won 16 of 16. But of a kind of document
    that none of n belongs to, the share is at most 1 - (alpha / 2)^(1 / n) (Clopper and Pearson 1934), and on such the
    difference may be anything from -span to span.
    """
    unseen = 1 - (alpha / 2) ** (1 / documents)
    low, high = effect - unseen * (span + effect), effect + unseen * (span - effect)
    p = min(1.0, 2 * (span / (span + abs(effect))) ** documents)  # the alpha at which the interval reaches zero
    same = dict.fromkeys(("t_low", "t_high", "bootstrap_low", "bootstrap_high"), effect)
    error = (high - low) / 4
    return Interval(effect, low, high, p, seed_error=0.0, document_error=error, degrees=max(1.0, seeds - 1.0), **same)


def document_variances(resampled: np.ndarray) -> tuple[float, float]:
    """Return the variance of the seeds' mean over document draws, and how much of it is each seed's own.

    `resampled` holds differences, (seeds, draws). The rest of the first is what seeds share.
    """
    n = len(resampled)
    mean = resampled.mean(axis=0)
    return float(mean.var()), float((resampled - mean).var(axis=1).mean()) / (n - 1)


def satterthwaite(total: Any, parts: Sequence[tuple[Any, Any]]) -> Any:
    """Return the effective degrees of freedom of a variance made from parts (variance, degrees), signs aside.

    Numbers or arrays of one shape; where all parts are zero, the degrees of the first.
    """
    bottom = sum(np.square(variance) / np.maximum(degrees, 1) for variance, degrees in parts)
    first = np.broadcast_to(np.asarray(parts[0][1], dtype=float), np.shape(bottom)).copy()
    return np.divide(np.square(total), bottom, out=first, where=np.asarray(bottom) > 0)
