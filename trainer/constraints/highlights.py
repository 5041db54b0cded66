"""Number of highlighted parts."""

from __future__ import annotations

import re
from typing import ClassVar

from windtunnel.trainer.constraints._constraint import Bounded, Example


class Highlights(Bounded):
    """A number of parts in Markdown's emphasis, `*part*` or `**part**`."""

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"least": 2}, "The *old* and **narrow** mill.", "The *old* mill, 2 * 3."),
    )

    def number(self, reply: str) -> int:
        strong = re.findall(r"\*\*([^\n*]*)\*\*", reply)
        plain = re.findall(r"\*([^\n*]*)\*", re.sub(r"\*\*[^\n*]*\*\*", " ", reply))
        return sum(1 for part in [*strong, *plain] if part.strip())
