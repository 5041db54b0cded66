"""A kind of generator that cleans conversations one by one, without a model: it can run on any number of cores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from windtunnel.generators.core.generator import Generator
from windtunnel.generators.text.groups import text_group

Turn = Mapping[str, Any]


class Cleaned(NamedTuple):
    """The conversations that one conversation becomes, or the reason why it becomes none."""

    parts: list[list[dict[str, Any]]]
    reason: str | None = None


class Cleaner(Generator):
    """Reads `conversations`, and looks at one at a time to decide what stays of it."""

    asks: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[str, ...]] = ("conversations",)
    sequential: ClassVar[bool] = True

    @abstractmethod
    def clean(self, messages: Sequence[Turn]) -> Cleaned:
        """Return what stays of the whole turns of a conversation (windtunnel.schemas.turns)."""

    @property
    def alone(self) -> bool:
        """Whether nothing but a row itself decides on it."""
        return True


def group_of_parts(messages: Sequence[Turn]) -> str | None:
    """Return the group that the parts of a split conversation share: that of its first question."""
    asked = next((turn["content"] for turn in messages if turn["role"] == "user"), None)
    return text_group(asked) if asked else None
