"""Number of sentences."""

from __future__ import annotations

import re
from typing import ClassVar

from windtunnel.trainer.constraints._constraint import Bounded, Example

ABBREVIATIONS = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|No|Fig|e\.g|i\.e|[A-Z])\.")
END = re.compile(r"[.!?]+[\"'\u201d\u2019)\]]*(?=\s|$)|[\u3002\uff01\uff1f]+")


class Sentences(Bounded):
    """A number of sentences: stretches that end in a full stop, an exclamation or a question mark, or in a paragraph.

    Abbreviations such as `Mr.` and initials end none. IFEval counts with NLTK's Punkt, which may differ.
    """

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"least": 2}, "It is 3.5 m long. Is it?", "Mr. B. Smith is here."),
        Example({"most": 1}, "Say: e.g. a mill.", "One. Two"),
        Example({"least": 3, "most": 3}, "\u4e00\u3002\u4e8c\u3002\u4e09\u3002", "\u4e00\u3002"),
    )

    def number(self, reply: str) -> int:
        pieces = (END.split(ABBREVIATIONS.sub("x", line)) for line in reply.splitlines())
        return sum(1 for line in pieces for piece in line if re.search(r"\w", piece))
