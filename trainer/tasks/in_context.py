"""Learn a made-up rule from examples in the context, by the number of examples."""

from __future__ import annotations

import random
from typing import Annotated, Literal

from pydantic import Field

from windtunnel.trainer.tasks._made_task import MadeTask
from windtunnel.trainer.tasks._pieces import Made

ANIMALS = (
    "dog", "cat", "horse", "cow", "sheep", "goat", "pig", "duck", "goose", "hen", "bird", "fish", "frog", "mouse",
    "rat", "bear", "wolf", "fox", "lion", "tiger", "deer", "rabbit", "bee", "ant", "snake", "monkey", "whale",
    "eagle",
)  # fmt: skip
PLACES = (
    "house", "church", "school", "bridge", "tower", "road", "street", "castle", "village", "town", "city", "garden",
    "market", "station", "factory", "farm", "hospital", "library", "museum", "palace", "temple", "theatre", "harbour",
    "airport", "prison", "hotel", "shop", "park",
)  # fmt: skip
LARGEST = 24  # number of examples

Pattern = Literal["first", "last", "lookup", "kind"]


class InContext(MadeTask):
    """Lines that follow a rule, and a last one to be completed: what the likelihood of its answers learns from them.

    Rules: the `first` or the `last` of three made-up words; `lookup`, where the line asked is one of those shown;
    `kind`, where animals and places have two made-up labels. Words, labels and examples are drawn for every item,
    and more examples are those of fewer and others. Without examples no model can know better than chance. Parts: the
    rule and the number of examples.
    """

    patterns: list[Pattern] = Field(["first", "last", "lookup", "kind"], min_length=1)
    shots: list[Annotated[int, Field(ge=0, le=LARGEST)]] = Field([0, 1, 4, 16], min_length=1)

    def parts(self) -> list[str]:
        return [f"{pattern}, {shots} shots" for pattern in self.patterns for shots in self.shots]

    def item(self, part: str, number: int, rng: random.Random) -> Made:
        pattern, shots = next((p, k) for p in self.patterns for k in self.shots if f"{p}, {k} shots" == part)
        rule = {"first": _of_three, "last": _of_three, "lookup": _lookup, "kind": _kind}[pattern]
        lines = rule(self, pattern, rng, shots)
        context = [piece for words, answer, _ in lines[:-1] for piece in (*words, " ->", answer, ".")]
        words, answer, others = lines[-1]
        texts = ((answer,), *((other,) for other in others))
        return Made(f"{pattern}{number}", (*context, *words, " ->"), texts, part)


Line = tuple[tuple[str, ...], str, list[str]]  # words, the right answer, the other answers


def _of_three(task: InContext, pattern: str, rng: random.Random, shots: int) -> list[Line]:
    lines: list[Line] = []
    for _ in range(shots + 1):
        words = [f" {word}" for word in task.words(rng, 3)]
        answer = words[0] if pattern == "first" else words[-1]
        lines.append((tuple(words), answer, [word for word in words if word != answer]))
    return [*lines[1:], lines[0]]  # the line asked is the same with any number of examples


def _lookup(task: InContext, pattern: str, rng: random.Random, shots: int) -> list[Line]:
    one, two, *words = (f" {word}" for word in task.words(rng, LARGEST + 2))
    labels = [rng.sample([one, two], 2) for _ in words]
    lines: list[Line] = [((word,), right, [wrong]) for word, (right, wrong) in zip(words, labels, strict=True)]
    shown = rng.sample(range(LARGEST), LARGEST)  # the order of the examples; the line asked is the first one
    return [*(lines[k] for k in shown if k < shots), lines[0]]


def _kind(task: InContext, pattern: str, rng: random.Random, shots: int) -> list[Line]:
    labels = [f" {word}" for word in task.words(rng, 2)]
    kinds = [[f" {word}" for word in rng.sample(words, len(words))] for words in (ANIMALS, PLACES)]
    chosen = [rng.randrange(2) for _ in range(LARGEST + 1)]
    lines: list[Line] = []
    for kind in chosen[: shots + 1]:
        word = kinds[kind][len(lines) % len(kinds[kind])]
        lines.append(((word,), labels[kind], [labels[1 - kind]]))
    return [*lines[1:], lines[0]]
