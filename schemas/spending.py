"""What answers of models cost: requests, tokens and dollars by model and purpose, as notes of a step's counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

_PREFIX = "spent"  # of notes: spent/MODEL/PURPOSE/WHAT, numbers that add up over shards
_REQUESTS, _PROMPT, _COMPLETION = "requests", "prompt_tokens", "completion_tokens"
_DOLLARS = "dollars"
Price = tuple[float, float]  # dollars per million prompt and completion tokens


def cost(price: Price, prompt_tokens: float, completion_tokens: float) -> float:
    """Return dollars."""
    return (price[0] * prompt_tokens + price[1] * completion_tokens) / 1e6


@dataclass(frozen=True)
class Spent:
    """What one model was asked for one purpose, by its answers, whether they were paid in this run or before."""

    model: str
    purpose: str
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0


class Spending:
    """Sums of a shard, by model and purpose."""

    def __init__(self) -> None:
        self._sums: Counter[tuple[str, str, str]] = Counter()

    def add(self, model: str, purpose: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Count one answer."""
        for what, number in ((_REQUESTS, 1), (_PROMPT, prompt_tokens), (_COMPLETION, completion_tokens)):
            self._sums[model, purpose, what] += number

    def notes(self, prices: Mapping[str, Price]) -> dict[str, float | int | str]:
        """Return the notes of a step's counts; models without a price in `prices` cost nothing."""
        notes: dict[str, float | int | str] = {}
        for model, purpose in sorted({(model, purpose) for model, purpose, _ in self._sums}):
            start = f"{_PREFIX}/{model}/{purpose}"
            sums = {what: self._sums[model, purpose, what] for what in (_REQUESTS, _PROMPT, _COMPLETION)}
            notes |= {f"{start}/{what}": number for what, number in sums.items()}
            if dollars := cost(prices.get(model, (0.0, 0.0)), sums[_PROMPT], sums[_COMPLETION]):
                notes[f"{start}/{_DOLLARS}"] = dollars
        return notes


def spent_of(counts: Mapping[str, Any]) -> list[Spent]:
    """Return what a manifest's counts say of the models that its step asked."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for key, value in (counts.get("notes") or {}).items():
        first, *names = key.split("/")
        if first == _PREFIX and len(names) == 3 and isinstance(value, int | float):
            found.setdefault((names[0], names[1]), {})[names[2]] = value
    return [Spent(model, purpose, **sums) for (model, purpose), sums in sorted(found.items())]


def by_model_and_purpose(parts: Iterable[Spent]) -> list[Spent]:
    """Return the sums of several steps."""
    groups: dict[tuple[str, str], list[Spent]] = {}
    for each in parts:
        groups.setdefault((each.model, each.purpose), []).append(each)
    return [replace(total(group), model=names[0], purpose=names[1]) for names, group in sorted(groups.items())]


def total(parts: Iterable[Spent]) -> Spent:
    """Return the sum, with neither model nor purpose."""
    numbers = [(s.requests, s.prompt_tokens, s.completion_tokens, s.dollars) for s in parts]
    return Spent("", "", *(sum(column) for column in zip(*numbers, strict=True))) if numbers else Spent("", "")
