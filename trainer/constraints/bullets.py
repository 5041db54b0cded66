"""Number of bullet points."""

from __future__ import annotations

import re
from typing import ClassVar

from windtunnel.trainer.constraints._constraint import Bounded, Example


class Bullets(Bounded):
    """A number of Markdown bullet points: lines that begin with `*` or `-`."""

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"least": 2, "most": 2}, "Two:\n* one\n  - two\n", "* one\n**two**"),
        Example({"least": 1}, "- one", "1. one"),
    )

    def number(self, reply: str) -> int:
        return len(re.findall(r"^\s*\*[^*].*$|^\s*-.*$", reply, re.MULTILINE))
