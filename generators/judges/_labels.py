"""Probabilities over the labels of a judge, from the log probabilities of its first token.

The most probable label alone discards the confidence of the judge (Liu et al. 2023, G-Eval; AlpacaEval 2 weights its
annotations in this way). The mass on the label tokens is renormalised, so it says something only where the labels are
what the model would write: where it would write something else, the ratio of two improbable tokens is noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from windtunnel.generators.client.completion import Completion

LEAST_MASS = 0.5  # on the labels together


def masses(completion: Completion, labels: Sequence[str]) -> dict[str, float]:
    """Return the probability of each label as the first token that is not white space; all 0 without log probabilities.

    Tokens count for a label that they equal apart from surrounding white space.
    """
    mass = dict.fromkeys(labels, 0.0)
    for token, logprob in _alternatives(completion).items():
        if token.strip() in mass:
            mass[token.strip()] += math.exp(logprob)
    return mass


def probabilities(mass: Mapping[str, float]) -> dict[str, float] | None:
    """Return probabilities by label that sum to 1; None when the labels together hold less than `LEAST_MASS`."""
    total = sum(mass.values())
    return {label: value / total for label, value in mass.items()} if total >= LEAST_MASS else None


def expectation(probability: Mapping[str, float]) -> float:
    """Return the mean grade, for probabilities over grades written as digits."""
    return sum(int(label) * p for label, p in probability.items())


def greater(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Return the probability that a grade drawn from `one` is above one from `other`; equal grades count half."""
    return sum(
        p * q * (1.0 if int(a) > int(b) else 0.5 if a == b else 0.0) for a, p in one.items() for b, q in other.items()
    )


def _alternatives(completion: Completion) -> dict[str, float]:
    """Return log probabilities of the first token that is not white space."""
    for token in completion.logprobs or ():
        if token.token.strip():
            return {token.token: token.logprob, **dict(token.top)}
    return {}
