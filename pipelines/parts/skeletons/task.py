"""Asks for the last word of a sentence.

In a recipe: `evaluate: {tasks: {from: CORPUS, tasks: [./new_part.py:NewPart]}}`
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.tasks._task import Item, Task, Text, sentences


class NewPart(Task):
    """A sentence of a document and the question for its last word."""

    version: ClassVar[int] = 1  # raise it whenever the same documents give other items
    shortest: int = Field(5, ge=2)  # words of the sentence

    # A text with an item and one without: `windtunnel check task ./new_part.py:NewPart` runs both.
    gives: ClassVar[str] = "The old mill stands beside a narrow river. It was built long ago by two brothers."
    gives_none: ClassVar[str] = "Too short."

    def item(self, texts: Sequence[Text], rng: random.Random) -> Item | None:
        """Return a question about the first text, or None where it gives none; the others may distract."""
        candidates = sentences(texts[0].text, self.shortest, 40)
        if not candidates:
            return None
        sentence = rng.choice(candidates)
        answer = sentence.split()[-1].strip(".!?\"'")
        return Item(texts[0].id, f"Write the last word of this sentence and nothing else.\n{sentence}", answer)
