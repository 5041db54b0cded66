"""Number of occurrences of a letter."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.constraints._constraint import Bounded, Example


class LetterFrequency(Bounded):
    """A number of occurrences of a letter, in any case."""

    letter: str = Field(min_length=1, max_length=1)

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"letter": "e", "least": 3}, "Even there.", "Is it?"),
        Example({"letter": "Z", "most": 0}, "Is it?", "A zebra."),
    )

    def number(self, reply: str) -> int:
        return reply.casefold().count(self.letter.casefold())
