"""Number of occurrences of a word."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.constraints._constraint import Bounded, Example


class KeywordFrequency(Bounded):
    """A number of occurrences of a word or a phrase, in any case."""

    word: str = Field(min_length=1)

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"word": "mill", "least": 2}, "Mill by mill.", "A mill, mills."),
        Example({"word": "mill", "most": 0}, "Mills.", "A mill."),
    )

    def number(self, reply: str) -> int:
        return len(re.findall(rf"(?<!\w){re.escape(self.word)}(?!\w)", reply, re.IGNORECASE))
