"""A title in double angle brackets."""

from __future__ import annotations

import re
from typing import ClassVar

from windtunnel.trainer.constraints._constraint import Constraint, Example


class Title(Constraint):
    """A title in double angle brackets, such as `<<The old mill>>`."""

    examples: ClassVar[tuple[Example, ...]] = (Example({}, "<<The old mill>>\nIt stands.", "<< >>\n<The old mill>"),)

    def holds(self, reply: str) -> bool:
        return any(found.strip(" <>") for found in re.findall(r"<<([^\n]+?)>>", reply))
