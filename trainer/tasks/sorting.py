"""Sort words alphabetically."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from pydantic import Field

from windtunnel.trainer.tasks._task import Item, Task, Text, first_line, tidy


class Sorting(Task):
    """Words of a document in an order that is not alphabetical."""

    words: int = Field(5, ge=2)

    gives = "The old mill stands beside a narrow river and was built long ago by two brothers from the valley."

    def item(self, texts: Sequence[Text], rng: random.Random) -> Item | None:
        """Return words of 4 to 12 lower-case letters to sort."""
        known = sorted(set(re.findall(r"(?<![\w'-])[a-z]{4,12}(?![\w'-])", texts[0].text)))
        if len(known) < self.words:
            return None
        chosen = rng.sample(known, self.words)
        answer = sorted(chosen)
        if chosen == answer:
            chosen.reverse()
        prompt = f"Sort these words alphabetically and write them on one line, with commas: {', '.join(chosen)}"
        return Item(texts[0].id, prompt, ", ".join(answer))

    def score(self, item: Item, reply: str) -> float:
        """Return 1 if the reply has the same words in the same order, with any separators, else 0."""
        return float(re.findall(r"[a-z]+", tidy(first_line(reply))) == item.answer.split(", "))
