"""The last words of the reply."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.constraints._constraint import Constraint, Example


class EndsWith(Constraint):
    """A phrase with which the reply ends, in any case; a quotation mark after it does not count."""

    primary: ClassVar[str | None] = "phrase"
    phrase: str = Field(min_length=1)

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"phrase": "Is that all?"}, "It stands. is that all?\n", "Is that all? No."),
    )

    def holds(self, reply: str) -> bool:
        return reply.strip().strip('"').strip().lower().endswith(self.phrase.strip().lower())
