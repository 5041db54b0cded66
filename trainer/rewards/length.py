"""How near a reply's length is to a wanted one."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from windtunnel.trainer.rewards._reward import Example, Reply, Verifier


class Length(Verifier):
    """1 minus the relative distance of the reply's words from `words`, at least 0; a part of a `weighted` reward."""

    primary: ClassVar[str | None] = "words"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("four words are here", 1.0, params={"words": 4}),
        Example("one", 0.25, params={"words": 4}),
        Example("", 0.0, params={"words": 4}),
    )

    words: int = Field(ge=1)

    def reward(self, reply: Reply) -> float:
        return max(0.0, 1.0 - abs(len(reply.text.split()) - self.words) / self.words)
