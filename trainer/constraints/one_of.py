"""One of several answers."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.constraints._constraint import Constraint, Example


class OneOf(Constraint):
    """One of several texts, which the reply has somewhere, as it is written."""

    primary: ClassVar[str | None] = "options"
    options: list[str] = Field(min_length=1)

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"options": ["My answer is yes.", "My answer is no."]}, "My answer is no. It is.", "my answer is No."),
    )

    def holds(self, reply: str) -> bool:
        return any(option in reply for option in self.options)
