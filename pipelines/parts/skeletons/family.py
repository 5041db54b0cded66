"""Asks how long words are.

In a recipe: `generate: {lengths: {with: {flan: {families: [./new_part.py:NewPart]}}, from: {documents: CORPUS}}}`
"""

from __future__ import annotations

import random
from typing import ClassVar

from windtunnel.generators.families._family import Family, FamilyTask, Item, plain_words


def make(text: str, rng: random.Random, longest: int) -> Item | None:
    """Return a question about a text, of which at most `longest` words are shown; None where it gives none."""
    for word in plain_words(text, rng, 1) or ():
        return Item({"word": word}, str(len(word)))
    return None


def verify(fields, answer: str) -> bool:
    """Return whether an answer is right, from what the question shows and on another way than `make`."""
    return answer == str(sum(1 for _ in fields["word"]))


class NewPart(Family):
    """Numbers of letters."""

    version: ClassVar[int] = 1  # raise it whenever the same documents give other questions

    # A text of which every task makes questions: `windtunnel check family ./new_part.py:NewPart`
    gives: ClassVar[str] = "The old mill stands beside a narrow river."
    tasks: ClassVar = {
        "length": FamilyTask(
            make,
            verify,
            (
                "How many letters has the word {word}? Answer with a number only.",
                "{word}\n\nCount the letters of this word.",
                "Word: {word}\nLetters:",
                "Of how many letters is {word} made?",
            ),
        ),
    }
