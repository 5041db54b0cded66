"""Number of placeholders."""

from __future__ import annotations

import re
from typing import ClassVar

from windtunnel.trainer.constraints._constraint import Bounded, Example


class Placeholders(Bounded):
    """A number of placeholders in square brackets, such as `[address]`."""

    examples: ClassVar[tuple[Example, ...]] = (Example({"least": 2}, "[name], [home address]", "[name], [], address"),)

    def number(self, reply: str) -> int:
        return len(re.findall(r"\[[^\[\]\n]+\]", reply))
