"""Recall the value of a key from a list of pairs, measured by likelihood."""

from __future__ import annotations

import random

from pydantic import Field

from windtunnel.trainer.tasks._made_task import MadeTask
from windtunnel.trainer.tasks._pieces import Made


class KeyValue(MadeTask):
    """Lines of a key and its value, then one of the keys: the value is chosen among those of all lines.

    `acc`: the right value is the likeliest of those shown (chance: one of their number). `exact`: its tokens are the
    likeliest of all, without a choice. Keys and values are made-up words (as in Zoology, Arora et al. 2023, arXiv
    2312.04927). Parts: the number of pairs, and of made-up words between the last line and the query.
    """

    pairs: list[int] = Field([2, 4, 8, 16], min_length=1)
    gaps: list[int] = Field([0], min_length=1)  # words

    def parts(self) -> list[str]:
        return [_name(pairs, gap) for pairs in self.pairs for gap in self.gaps]

    def item(self, part: str, number: int, rng: random.Random) -> Made:
        pairs, gap = next((p, g) for p in self.pairs for g in self.gaps if _name(p, g) == part)
        words = self.words(rng, 2 * pairs + gap)
        keys, values, between = words[:pairs], words[pairs : 2 * pairs], words[2 * pairs :]
        asked = rng.randrange(pairs)
        lines = [
            piece for key, value in zip(keys, values, strict=True) for piece in (f" {key}", " =", f" {value}", ".")
        ]
        context = (*lines, *(f" {word}" for word in between), *(["."] if between else []), f" {keys[asked]}", " =")
        others = [value for k, value in enumerate(values) if k != asked]
        return Made(str(number), context, tuple((f" {value}",) for value in [values[asked], *others]), part)


def _name(pairs: int, gap: int) -> str:
    return f"{pairs} pairs" + (f", {gap} words between" if gap else "")
