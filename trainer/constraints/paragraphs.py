"""Number of paragraphs."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from windtunnel.trainer.constraints._constraint import Bounded, Example

SEPARATORS = {"blank_line": r"\n[ \t]*\n\s*", "asterisks": r"\s?\*\*\*\s?"}


class Paragraphs(Bounded):
    """A number of paragraphs, with blank lines or `***` (as in IFEval) between them."""

    separator: Literal["blank_line", "asterisks"] = "blank_line"

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"least": 2, "most": 2}, "One.\n\n\nTwo,\nstill two.\n", "One.\nTwo."),
        Example({"least": 2, "separator": "asterisks"}, "One.\n***\nTwo.", "One.\n\nTwo."),
    )

    def number(self, reply: str) -> int:
        return sum(1 for part in re.split(SEPARATORS[self.separator], reply) if part.strip())
