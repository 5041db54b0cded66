"""Repeat a string of made-up words that stands before, measured by likelihood."""

from __future__ import annotations

import random

from pydantic import Field

from windtunnel.trainer.tasks._made_task import MadeTask
from windtunnel.trainer.tasks._pieces import Made


class Repetition(MadeTask):
    """Made-up words that occur twice in a row: how many of the second time the model finds the likeliest.

    The text is given as it stands, so that one pass scores all words (induction, Olsson et al. 2022, arXiv 2209.11895).
    The first word of the second time is given. `exact`: the share of words whose tokens are all the likeliest. By
    chance: repeating one of the words at random. Parts: the number of words, which is the distance to look back.
    """

    lengths: list[int] = Field([4, 8, 16, 32], min_length=1)  # words

    @property
    def compared_by(self) -> str:
        return "word_accuracy"

    def parts(self) -> list[str]:
        return [f"{length} words" for length in self.lengths]

    def item(self, part: str, number: int, rng: random.Random) -> Made:
        length = int(part.split()[0])
        words = [f" {word}" for word in self.words(rng, length)]
        context = (*words, ".", words[0])
        return Made(str(number), context, (tuple(words[1:]),), part, chance=1 / length)
