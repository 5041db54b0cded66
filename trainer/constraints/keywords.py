"""Words that must occur."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.constraints._constraint import Constraint, Example, has_word


class Keywords(Constraint):
    """Words or phrases of which each occurs, in any case."""

    primary: ClassVar[str | None] = "words"
    words: list[str] = Field(min_length=1)

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"words": ["mill", "old river"]}, "The Mill on the old river.", "The millstone, an old river."),
        Example({"words": ["C++"]}, "C++ is a language.", "C is a language."),
    )

    def holds(self, reply: str) -> bool:
        return all(has_word(reply, word) for word in self.words)
