"""No commas."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.trainer.constraints._constraint import Constraint, Example

COMMAS = frozenset(",\u060c\uff0c\u3001")


class NoComma(Constraint):
    """No comma, of Latin, Arabic or East Asian writing."""

    examples: ClassVar[tuple[Example, ...]] = (
        Example({}, "It is old.", "It is old, and narrow."),
        Example({}, "", "，"),
    )

    def holds(self, reply: str) -> bool:
        return COMMAS.isdisjoint(reply)
