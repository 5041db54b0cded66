"""The whole reply in quotation marks."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.trainer.constraints._constraint import Constraint, Example

MARKS = {'"': '"', "\u201c": "\u201d", "\u00ab": "\u00bb", "\u201e": "\u201c"}


class Quotation(Constraint):
    """Double quotation marks around the whole reply."""

    examples: ClassVar[tuple[Example, ...]] = (Example({}, ' "It stands."\n', '"It" stands.'), Example({}, "«Да»", '"'))

    def holds(self, reply: str) -> bool:
        text = reply.strip()
        return len(text) > 1 and MARKS.get(text[0]) == text[-1]
