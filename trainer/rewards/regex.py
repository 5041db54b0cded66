"""A regular expression that a reply matches."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import field_validator

from windtunnel.trainer.rewards._reward import Example, Reply, Verifier


class Regex(Verifier):
    r"""1 for a reply in which `pattern` is found, else 0; `\A` and `\Z` ask for the whole reply."""

    primary: ClassVar[str | None] = "pattern"
    examples: ClassVar[tuple[Example, ...]] = (
        Example("It is 42.", 1.0, params={"pattern": r"\b\d+\b"}),
        Example("It is so.", 0.0, params={"pattern": r"\b\d+\b"}),
    )

    pattern: str

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return pattern

    def reward(self, reply: Reply) -> float:
        return float(re.search(self.pattern, reply.text) is not None)
