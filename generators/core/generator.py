"""What all kinds of generator share: records in, records out, with a lineage for every row and a reason for every drop.

A kind writes down what happens to one row as a chain: a Python generator that yields the questions it has and is sent
the answers. The session runs many chains at once and hands back their outcomes in the order of the chains, so that
what a row becomes depends on the row alone, never on how many requests were in flight or which came back first.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeVar

import pyarrow as pa
from pydantic import Field

from windtunnel.generators.client.completion import Completion, Request
from windtunnel.generators.core.material import Table
from windtunnel.generators.core.prompt import load
from windtunnel.schemas.plugin import Plugin
from windtunnel.schemas.records import CONVERSATION


@dataclass(frozen=True)
class Ask:
    """A request and what it is for; `purpose` tells the steps of a kind apart (`opening`, `reply`, `judge`)."""

    purpose: str
    request: Request


@dataclass(frozen=True)
class Kept:
    """A row of the kind's schema; `extra` holds rows for further tables, by folder name."""

    row: dict[str, Any]
    extra: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Dropped:
    """A candidate that was refused: where, why, what the model had said, and where the candidate came from."""

    reason: str
    stage: str
    raw: str
    lineage: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A candidate that the model could not answer for; `error` is the client's code, such as `context_too_long`."""

    error: str
    stage: str
    detail: str
    lineage: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)


Outcome = Kept | Dropped | Failed
Result = TypeVar("Result")
Chain = abc.Generator[Sequence[Ask], list[Completion], Result]  # most end in a Sequence[Outcome]


@dataclass(frozen=True)
class Example:
    """A tiny script: what the models answer, by purpose and in order, and what must come out of it.

    `kept` holds, per row, the contents of its messages (for preferences: prompt, then chosen, then rejected).
    """

    params: Mapping[str, Any]
    replies: Mapping[str, Sequence[str]]
    kept: Sequence[Sequence[str]]
    dropped: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)


class Generator(Plugin):
    """A kind of synthetic data. `rows` is how many rows are wanted, `seed` the root of every random choice.

    `reads` names the input roles it takes, `tables` the further folders it writes with their schemas, `prompts` the
    prompt files whose versions belong to its identity. `sequential` kinds cannot be cut into shards, since a row
    depends on the rows before.
    """

    output: ClassVar[pa.Schema] = CONVERSATION
    reads: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[Mapping[str, pa.Schema]] = {}
    prompts: ClassVar[tuple[str, ...]] = ()
    sequential: ClassVar[bool] = False
    examples: ClassVar[tuple[Example, ...]] = ()

    rows: int = Field(100, gt=0)
    seed: int = 0

    def models(self) -> tuple[str, ...]:
        """Return the names of the models that the recipe must give an address for."""
        raise NotImplementedError

    def on(self, raw: Collection[str]) -> Self:
        """Return the kind as it works on these models: those named in `raw` complete text, the others may only chat.

        What a recipe leaves open about the way to ask is settled here, before anything is asked or hashed.
        """
        return self

    def generate(self, session: Any) -> Iterator[Outcome]:
        """Yield the outcomes of this share of the rows, in a fixed order (session: generators.core.session.Session)."""
        raise NotImplementedError

    def total(self, inputs: Mapping[str, Table]) -> int:
        """Return how many rows there are to make in all, over all shards."""
        return self.rows

    def lineage(self, session: Any, completions: Mapping[str, Completion], **facts: Any) -> dict[str, Any]:
        """Return where a row comes from: the kind, its seed, prompt versions, models by purpose, and `facts`."""
        models = {purpose: [c.model, c.revision] for purpose, c in completions.items()}
        prompts = {name: load(name).version for name in self.prompts}
        about = {"kind": session.kind, "version": self.version, "seed": self.seed, "prompts": prompts, "models": models}
        return about | facts

    def notes(self) -> dict[str, float | int | str]:
        """Return facts of the configuration that the report shows beside the counts."""
        return {}

    def fingerprint(self) -> dict[str, Any]:
        """Return what changes the rows beside the parameters: the class's version, prompt versions, seed files."""
        return {"version": self.version, "prompts": {name: load(name).version for name in self.prompts}}
