"""Words that must occur."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.constraints._constraint import Constraint, Example, occurrences


class Keywords(Constraint):
    """Words or phrases of which each occurs, in any case, by default also within longer words."""

    primary: ClassVar[str | None] = "words"
    words: list[str] = Field(min_length=1)
    whole: bool = False  # not within longer words

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"words": ["mill", "old river"]}, "The Millstone in an old river.", "The mill, an old, wide river."),
        Example({"words": ["C++", "is"], "whole": True}, "C++ is a language.", "C++, this language."),
    )

    def holds(self, reply: str) -> bool:
        return all(occurrences(reply, word, self.whole) for word in self.words)
