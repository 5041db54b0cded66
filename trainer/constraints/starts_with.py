"""The first words of the reply."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.constraints._constraint import Constraint, Example


class StartsWith(Constraint):
    """A phrase with which the reply begins, in any case, such as the request that is to be repeated first."""

    primary: ClassVar[str | None] = "phrase"
    phrase: str = Field(min_length=1)

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"phrase": "Dear reader"}, " dear Reader, it stands.", "It stands, dear reader."),
    )

    def holds(self, reply: str) -> bool:
        return reply.strip().lower().startswith(self.phrase.strip().lower())
