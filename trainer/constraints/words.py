"""Number of words."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.trainer.constraints._constraint import Bounded, Example, words


class Words(Bounded):
    """A number of words."""

    examples: ClassVar[tuple[Example, ...]] = (
        Example({"least": 3}, "One, two, three.", "One, two."),
        Example({"most": 2}, "One, two.", "One, two, three."),
        Example({"least": 2, "most": 3}, "It is here.", "Here."),
    )

    def number(self, reply: str) -> int:
        return len(words(reply))
