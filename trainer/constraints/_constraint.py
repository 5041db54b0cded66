"""The base class of constraints that an instruction may put on a reply, as IFEval has them (Zhou et al. 2023).

A constraint looks at the reply alone. Definitions follow those of IFEval (arXiv 2311.07911) where it has them. A
change of a built-in one raises the version of the task `constraints`, whose files name it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from pydantic import Field, model_validator

from windtunnel.schemas.plugin import Plugin


class Example(NamedTuple):
    """A reply that keeps to a constraint with some parameters, and one that does not."""

    parameters: Mapping[str, Any]
    right: str
    wrong: str


class Constraint(Plugin, ABC):
    """What a reply must be like: one file in trainer/constraints."""

    examples: ClassVar[tuple[Example, ...]]

    @abstractmethod
    def holds(self, reply: str) -> bool:
        """Return whether a reply keeps to the constraint."""


class Bounded(Constraint):
    """A constraint on a number: at least `least`, at most `most`, both where both are given."""

    least: int | None = Field(None, ge=0)
    most: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _some_bound(self) -> Bounded:
        if self.least is None and self.most is None:
            raise ValueError("give `least:`, `most:` or both")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"no number is at least {self.least} and at most {self.most}")
        return self

    @abstractmethod
    def number(self, reply: str) -> int:
        """Return the number that is bounded."""

    def holds(self, reply: str) -> bool:
        number = self.number(reply)
        return (self.least is None or number >= self.least) and (self.most is None or number <= self.most)


def words(text: str) -> list[str]:
    """Return the words of a text: runs of letters, digits and `_`, as IFEval counts them."""
    return re.findall(r"\w+", text)


def has_word(text: str, phrase: str) -> bool:
    """Return whether a text has a word or a phrase, in any case, and not as a part of longer words."""
    return re.search(rf"(?<!\w){re.escape(phrase.strip())}(?!\w)", text, re.IGNORECASE) is not None
