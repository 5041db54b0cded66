"""Say a sentence again, letter by letter."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import Field

from windtunnel.trainer.tasks._task import Item, Task, Text, sentences


class Copying(Task):
    """A sentence of a document; only the same characters are right."""

    shortest: int = Field(5, ge=1)  # words
    longest: int = Field(15, ge=1)

    gives = "The old mill stands beside a narrow river. It was built long ago by two brothers."

    def item(self, texts: Sequence[Text], rng: random.Random) -> Item | None:
        """Return one of the document's sentences to copy."""
        found = sentences(texts[0].text, self.shortest, self.longest)
        if not found:
            return None
        sentence = found[rng.randrange(len(found))]
        return Item(texts[0].id, f"Repeat this sentence exactly and write nothing else:\n{sentence}", sentence)

    def score(self, item: Item, reply: str) -> float:
        """Return 1 for the same characters, outer blanks aside."""
        return float(reply.strip() == item.answer)
