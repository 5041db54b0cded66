"""Repeat a sentence exactly."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import Field

from windtunnel.trainer.tasks._task import Item, Task, Text, sentences


class Copying(Task):
    """A sentence of a document, to be repeated character by character."""

    shortest: int = Field(5, ge=1)  # words
    longest: int = Field(15, ge=1)

    gives = "The old mill stands beside a narrow river. It was built long ago by two brothers."

    def item(self, texts: Sequence[Text], rng: random.Random) -> Item | None:
        """Return one of the document's sentences to copy."""
        candidates = sentences(texts[0].text, self.shortest, self.longest)
        if not candidates:
            return None
        sentence = candidates[rng.randrange(len(candidates))]
        return Item(texts[0].id, f"Repeat this sentence exactly and write nothing else:\n{sentence}", sentence)

    def score(self, item: Item, reply: str) -> float:
        """Return 1 if the reply equals the answer, ignoring surrounding white space, else 0."""
        return float(reply.strip() == item.answer)
