"""Simulated worlds with a known loss for every mix, for `laws.py`.

Each world has a prior of its domains, from which mixes are drawn as RegMix draws them (arXiv 2407.01492: Dirichlet with
strengths that vary), and a second scale: a larger model whose floor, slopes and diminishing returns differ by some
10 to 15 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

TARGETS = 6  # held-out sets whose losses are averaged, in worlds that have several
Loss = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class World:
    """Noiseless losses of small and larger models for mixes [mixes, domains], and the prior of mixes."""

    small: Loss
    large: Loss
    prior: np.ndarray

    def mixes(self, n: int, rng: np.random.Generator) -> np.ndarray:
        strengths = 10 ** rng.uniform(0.3, 1.5, n)
        return np.stack([rng.dirichlet(np.maximum(self.prior * strength, 1e-2)) for strength in strengths])


def exponential(domains: int, rng: np.random.Generator) -> tuple[Loss, Loss]:
    slopes = 1.2 * rng.normal(0, 1, domains) * (rng.random(domains) < 0.6)
    other = slopes * (1 + 0.1 * rng.normal(size=domains))
    return lambda mixes: 2 + np.exp(0.2 + mixes @ slopes), lambda mixes: 1.6 + np.exp(0.2 + mixes @ other)


def several(domains: int, rng: np.random.Generator) -> tuple[Loss, Loss]:
    """The mean of exponentials, each steep in one domain."""
    slopes = rng.normal(0, 0.8, (TARGETS, domains))
    slopes[np.arange(TARGETS), rng.choice(domains, TARGETS, domains < TARGETS)] -= 3
    other, floors = slopes + rng.normal(0, 0.15, slopes.shape), rng.uniform(1, 3, TARGETS)
    return (
        lambda mixes: np.mean(floors + np.exp(0.3 + mixes @ slopes.T), axis=1),
        lambda mixes: np.mean(0.85 * floors + np.exp(0.3 + mixes @ other.T), axis=1),
    )


def interaction(domains: int, rng: np.random.Generator) -> tuple[Loss, Loss]:
    slopes = rng.normal(0, 1, domains) * (rng.random(domains) < 0.6)
    pairs = rng.normal(0, 1.5, (domains, domains)) * (rng.random((domains, domains)) < 0.3)
    other = slopes + rng.normal(0, 0.1, domains)

    def loss(mixes: np.ndarray, steep: np.ndarray) -> np.ndarray:
        return 2 + np.exp(mixes @ steep + np.einsum("ni,ij,nj->n", mixes, pairs, mixes))

    return lambda mixes: loss(mixes, slopes), lambda mixes: loss(mixes, other)


def saturating(domains: int, rng: np.random.Generator) -> tuple[Loss, Loss]:
    """Power laws of the share of useful text, averaged over held-out sets."""
    useful = rng.gamma(0.4, 0.12, (TARGETS, domains))
    useful[np.arange(TARGETS), rng.choice(domains, TARGETS, domains < TARGETS)] += 1
    floors, powers = rng.uniform(1, 2, TARGETS), rng.uniform(0.15, 0.35, TARGETS)
    least, other = 10 ** rng.uniform(-2.3, -1.3, TARGETS), useful * np.exp(rng.normal(0, 0.15, useful.shape))
    return (
        lambda mixes: np.mean(floors + 0.8 * (mixes @ useful.T + least) ** -powers, axis=1),
        lambda mixes: np.mean(0.8 * floors + 0.8 * (mixes @ other.T + 0.6 * least) ** (-1.1 * powers), axis=1),
    )


def one_domain(domains: int, rng: np.random.Generator) -> tuple[Loss, Loss]:
    """A power law of the share of text that is useful for one held-out set."""
    useful = rng.gamma(0.4, 0.12, domains)
    useful[rng.integers(domains)] += 1
    other = useful * np.exp(rng.normal(0, 0.15, domains))
    return (
        lambda mixes: 1.5 + 0.8 * (mixes @ useful + 0.01) ** -0.25,
        lambda mixes: 1.2 + 0.8 * (mixes @ other + 0.01) ** -0.25,
    )


KINDS = (exponential, several, interaction, saturating, one_domain)


def world(kind: Callable[[int, np.random.Generator], tuple[Loss, Loss]], domains: int, seed: int) -> World:
    """Return one world of a kind."""
    rng = np.random.default_rng([seed, domains, KINDS.index(kind)])
    prior = (rng.dirichlet(np.ones(domains)) + 0.3 / domains) / 1.3
    return World(*kind(domains, rng), prior)
