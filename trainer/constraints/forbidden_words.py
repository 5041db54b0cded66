"""Words that must not occur."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.constraints._constraint import Constraint, Example, has_word


class ForbiddenWords(Constraint):
    """Words or phrases of which none occurs, in any case."""

    primary: ClassVar[str | None] = "words"
    words: list[str] = Field(min_length=1)

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"words": ["mill", "river"]}, "A millstone by the rivers.", "A RIVER."),
    )

    def holds(self, reply: str) -> bool:
        return not any(has_word(reply, word) for word in self.words)
