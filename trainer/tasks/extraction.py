"""Extract the only year, quotation or abbreviation of a passage."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from pydantic import Field

from windtunnel.trainer.tasks._task import Item, Task, Text, sentences

# Name and pattern of each field; the pattern's group is the answer.
FIELDS = {
    "year": re.compile(r"(?<![\d.,-])((?:1[0-9]|20)\d\d)(?![\d.,]*\d|-)"),
    "phrase in double quotes": re.compile(r"[\"“]([^\"“”]{3,60})[\"”]"),
    "abbreviation in brackets": re.compile(r"\(([A-Z]{2,6})\)"),
}


class Extraction(Task):
    """A passage with exactly one match of a field."""

    shortest: int = Field(6, ge=1)  # words of a sentence
    longest: int = Field(60, ge=1)
    passage: int = Field(3, ge=1)  # sentences around the match

    gives = (
        "The mill stands by the river. It was built in 1843 by two brothers from town. Nobody has lived there since."
    )
    gives_none = "The mill stands by the river. It was built by two brothers. Nobody has lived there since."

    def item(self, texts: Sequence[Text], rng: random.Random) -> Item | None:
        """Return a passage and the field to extract."""
        parts = sentences(texts[0].text, self.shortest, self.longest)
        starts = list(range(max(1, len(parts) - self.passage + 1)))
        rng.shuffle(starts)
        for start in starts if parts else []:
            passage = " ".join(parts[start : start + self.passage])
            for name in rng.sample(sorted(FIELDS), len(FIELDS)):
                matches = FIELDS[name].findall(passage)
                if len(matches) == 1:
                    prompt = f"Which {name} does this text hold? Write it alone.\n{passage}"
                    return Item(texts[0].id, prompt, matches[0])
        return None
