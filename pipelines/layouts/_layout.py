"""What every layout is: it knows its files by their columns, and makes a row of a record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

from windtunnel.pipelines.layouts._turns import Refused as Refused
from windtunnel.pipelines.layouts._turns import Turn
from windtunnel.schemas.plugin import Plugin

Record = Mapping[str, Any]


class Example(NamedTuple):
    """A record and the turns that come out, (role, content) in order; `refused` is the reason where none do.

    Of a pair, the turns are those of the prompt, then the chosen and the rejected answer.
    """

    record: Record
    turns: tuple[tuple[str, str], ...] = ()
    refused: str = ""
    params: Record = MappingProxyType({})


class Chat(NamedTuple):
    """A conversation; `label` says whether its answer is desirable, where a file says so."""

    messages: list[Turn]
    tools: list[Any] | None = None
    label: bool | None = None


class Pair(NamedTuple):
    """A chosen and a rejected answer to one prompt."""

    prompt: list[Turn]
    chosen: list[Turn]
    rejected: list[Turn]
    ratings: tuple[float | None, float | None] = (None, None)
    tools: list[Any] | None = None


class Layout(Plugin, ABC):
    """The columns in which a file writes its rows; parameters name columns that are called otherwise.

    `rank` orders layouts that fit the same columns: the lowest is taken.
    """

    gives: ClassVar[Literal["conversations", "preferences"]] = "conversations"
    rank: ClassVar[int] = 50
    examples: ClassVar[tuple[Example, ...]] = ()

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return what rows it gives."""
        return {"gives": cls.gives}

    @abstractmethod
    def fits(self, columns: Collection[str]) -> bool:
        """Return whether the columns that rows need are there."""

    @abstractmethod
    def row(self, record: Record) -> Chat | Pair:
        """Return the row of a record; raises Refused with a reason code."""
