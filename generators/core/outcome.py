"""What a chain asks and how an attempt at a row ends: kept, dropped or failed."""

from __future__ import annotations

from collections import abc
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Self, TypeVar

from windtunnel.generators.client.completion import Completion, Request
from windtunnel.generators.core.origin import Origin, Record


@dataclass(frozen=True)
class Ask:
    """A request and its purpose, which names the step of the kind (`opening`, `reply`, `judge`)."""

    purpose: str
    request: Request


@dataclass(frozen=True, eq=False)
class _Ended:
    """The end of one attempt at a row.

    `parents` are the records and origins that the attempt uses; the base class derives group and licence from them.
    `()` states that no input was used, None that nothing was stated. `extra` holds rows of further tables by folder.
    `replaces` is an earlier outcome of the same attempt.
    """

    _: KW_ONLY
    parents: Sequence[Record | Origin] | None = None
    extra: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    replaces: _Ended | None = None

    def refused(self, reason: str, stage: str, raw: str, lineage: Mapping[str, Any]) -> Dropped:
        """Return this attempt as dropped by a later decision, such as a gate."""
        return Dropped(reason, stage, raw, lineage, parents=self.parents, replaces=self)


@dataclass(frozen=True, eq=False)
class Kept(_Ended):
    """A row of the kind's schema. Its lineage is written by the base class, with group and licence."""

    row: dict[str, Any]
    lineage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Dropped(_Ended):
    """A candidate that was refused, with the step that refused it and the text of the model."""

    reason: str
    stage: str
    raw: str
    lineage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Failed(_Ended):
    """A candidate without a usable answer; `error` is a code of `generators.client.faults`."""

    error: str
    stage: str
    detail: str
    lineage: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, reply: Completion, stage: str, lineage: Mapping[str, Any], **about: Any) -> Self:
        """Return the failure that a completion with an error reports."""
        return cls(str(reply.error), stage, reply.detail, lineage, **about)


Outcome = Kept | Dropped | Failed
Result = TypeVar("Result")
Chain = abc.Generator[Sequence[Ask], list[Completion], Result]  # most return one Outcome or several


def models_of(completions: Mapping[str, Completion]) -> dict[str, list[str]]:
    """Return [model, revision] of each completion, by purpose."""
    return {purpose: [c.model, c.revision] for purpose, c in completions.items()}
