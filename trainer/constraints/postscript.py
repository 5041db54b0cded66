"""A postscript at the end."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from windtunnel.trainer.constraints._constraint import Constraint, Example

PATTERNS = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}


class Postscript(Constraint):
    """A postscript that begins with `P.S.` or `P.P.S`, in any case, and says something."""

    primary: ClassVar[str | None] = "marker"
    marker: Literal["P.S.", "P.P.S"] = "P.S."

    examples: ClassVar[tuple[Example, ...]] = (
        Example({}, "It stands.\np. s. It is old.", "It stands, PS it is old."),
        Example({"marker": "P.P.S"}, "P.P.S. It is old.", "P.S. It is old."),
    )

    def holds(self, reply: str) -> bool:
        return re.search(rf"{PATTERNS[self.marker]}[\s.:]*\w", reply, re.IGNORECASE) is not None
