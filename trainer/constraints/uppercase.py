"""Capital letters alone."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.trainer.constraints._constraint import Constraint, Example


class Uppercase(Constraint):
    """Letters, all of which are capitals."""

    examples: ClassVar[tuple[Example, ...]] = (Example({}, "IT IS 3 O'CLOCK.", "IT Is."), Example({}, "ЭТО", "123"))

    def holds(self, reply: str) -> bool:
        return reply.isupper()
