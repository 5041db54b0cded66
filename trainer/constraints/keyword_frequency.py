"""Number of occurrences of a word."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.constraints._constraint import Bounded, Example, occurrences


class KeywordFrequency(Bounded):
    """A number of occurrences of a word or a phrase, in any case, by default also within longer words."""

    word: str = Field(min_length=1)
    whole: bool = False  # not within longer words

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"word": "mill", "least": 2}, "Mill by mills.", "A mill."),
        Example({"word": "mill", "most": 0, "whole": True}, "Mills.", "A mill."),
    )

    def number(self, reply: str) -> int:
        return occurrences(reply, self.word, self.whole)
