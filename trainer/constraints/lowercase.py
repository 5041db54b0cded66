"""No capital letters."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.trainer.constraints._constraint import Constraint, Example


class Lowercase(Constraint):
    """Letters, of which none is a capital."""

    examples: ClassVar[tuple[Example, ...]] = (Example({}, "it is 3 o'clock.", "It is."), Example({}, "это", "123"))

    def holds(self, reply: str) -> bool:
        return reply.islower()
