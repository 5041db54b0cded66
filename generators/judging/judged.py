"""Judged answers and their pair: by margin, in every order, with reasons for ties and contradictions."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from windtunnel.generators.judging.ratings import Rating, common_mean, mean


@dataclass(frozen=True)
class Answer:
    """An answer with its ratings by aspect (one per order of presentation) and the score of its critique."""

    text: str
    truncated: bool
    aspects: Mapping[str, Sequence[Rating]]
    critique: Rating

    @cached_property
    def means(self) -> dict[str, float | None]:
        """Mean rating by aspect over the orders."""
        return {name: mean(given) for name, given in self.aspects.items()}

    @property
    def overall(self) -> float | None:
        """Mean over the aspects that apply."""
        values = [value for value in self.means.values() if value is not None]
        return sum(values) / len(values) if values else None

    def in_order(self, nth: int) -> dict[str, float | None]:
        """Return the ratings by aspect in one order."""
        return {name: given[nth].value for name, given in self.aspects.items()}


@dataclass(frozen=True)
class Pair:
    """Indices of the chosen and the rejected answer, their mean ratings over common aspects, and the difference."""

    chosen: int
    rejected: int
    ratings: tuple[float, float]

    @property
    def margin(self) -> float:
        return self.ratings[0] - self.ratings[1]


def pair(
    answers: Sequence[Answer], margin: float, rejected: Literal["random", "lowest", "nearest"], rng: random.Random
) -> Pair | str:
    """Return a pair, or the reason why there is none.

    The chosen answer is the best complete one; ties are broken by the critique's score. The rejected answer is at least
    `margin` below it over the aspects that both have. Reasons: `unrated`, `truncated` (no complete answer is rated),
    `tie`, `below_margin`, `order_inconsistent` (the opposite in one of the orders) and `critique_disagrees`.
    """
    rated = [k for k, a in enumerate(answers) if a.overall is not None]
    if len(rated) < 2:
        return "unrated"
    whole = [k for k in rated if not answers[k].truncated]
    if not whole:
        return "truncated"
    best = max(whole, key=lambda k: (answers[k].overall, answers[k].critique.value or 0.0))
    below: list[Pair] = []
    nearest = 0.0
    for k in rated:
        both = common_mean(answers[best].means, answers[k].means) if answers[k].text != answers[best].text else None
        if both is not None:
            nearest = max(nearest, both[0] - both[1])
            if both[0] - both[1] >= margin:
                below.append(Pair(best, k, both))
    if not below:
        return "below_margin" if nearest > 0 else "tie"
    steady = [p for p in below if _every_order_agrees(answers[best], answers[p.rejected])]
    if not steady:
        return "order_inconsistent"
    agreed = [p for p in steady if _critiques_agree(answers[best], answers[p.rejected])]
    if not agreed:
        return "critique_disagrees"
    if rejected == "random":
        return rng.choice(agreed)
    return (max if rejected == "lowest" else min)(agreed, key=lambda p: p.margin)


def disputed(critique: Rating, aspects: Mapping[str, Sequence[Rating]], points: float) -> bool:
    """Return whether a critique's score (1 to 10) is `points` or more away from the rescaled ratings (1 to 5)."""
    means = [value for given in aspects.values() if (value := mean(given)) is not None]
    if critique.value is None or not means:
        return critique.status in ("unreadable", "out_of_range")
    expected = 1 + (sum(means) / len(means) - 1) * 9 / 4
    return abs(critique.value - expected) >= points


def _every_order_agrees(best: Answer, other: Answer) -> bool:
    orders = min(len(given) for given in best.aspects.values())
    both = (common_mean(best.in_order(nth), other.in_order(nth)) for nth in range(orders))
    return all(pair is None or pair[0] >= pair[1] for pair in both)


def _critiques_agree(best: Answer, other: Answer) -> bool:
    return best.critique.value is None or other.critique.value is None or best.critique.value >= other.critique.value
