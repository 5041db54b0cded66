"""Number of sections with a heading."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.constraints._constraint import Bounded, Example


class Sections(Bounded):
    """A number of sections that begin with a word and a number, such as `Section 1`."""

    splitter: str = Field("Section", min_length=1)

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"least": 2}, "Section 1\nOne.\nSection 2\nTwo.", "Section 1\nOne."),
        Example({"splitter": "PART", "most": 1}, "PART 1", "PART 1 PART 2"),
    )

    def number(self, reply: str) -> int:
        return len(re.findall(rf"(?<!\w){re.escape(self.splitter)}\s?\d+", reply))
