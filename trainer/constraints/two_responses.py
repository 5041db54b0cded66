"""Two different responses."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.trainer.constraints._constraint import Constraint, Example


class TwoResponses(Constraint):
    """Two responses that differ, with six asterisks between them."""

    examples: ClassVar[tuple[Example, ...]] = (
        Example({}, "It stands.\n******\nIt fell.", "It stands.\n******\nIt stands."),
        Example({}, "******One.******Two.", "One.\n***\nTwo."),
    )

    def holds(self, reply: str) -> bool:
        parts = [part.strip() for part in reply.split("******")]
        inner = parts[1 if not parts[0] else 0 : -1 if len(parts) > 1 and not parts[-1] else None]
        return len(inner) == 2 and all(inner) and inner[0] != inner[1]
