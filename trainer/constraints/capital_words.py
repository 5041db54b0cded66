"""Number of words in capitals."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.trainer.constraints._constraint import Bounded, Example, words


class CapitalWords(Bounded):
    """A number of words in which all letters are capitals."""

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"least": 2}, "It is VERY OLD.", "It is Very OLD."),
        Example({"most": 0}, "It is old, 1843.", "I am."),
    )

    def number(self, reply: str) -> int:
        return sum(1 for word in words(reply) if word.isupper())
