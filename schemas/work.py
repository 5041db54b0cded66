"""What a step of a plan does: sharded, countable work whose fields are its whole configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from windtunnel.schemas.artifact import Artifact, Part
from windtunnel.schemas.plugin import Plugin, digest, kind_of, reference, with_parts


class Counts(BaseModel):
    """What one shard saw: in = kept + dropped (by reason) + unreadable (by error), checked when built."""

    model_config = ConfigDict(extra="forbid")
    seen: int = 0
    kept: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    unreadable: dict[str, int] = Field(default_factory=dict)
    bytes: int = 0
    tokens: int = 0
    flops: float = 0.0
    notes: dict[str, float | int | str] = Field(default_factory=dict)

    def check(self, where: str) -> Counts:
        """Return self, or raise if a record is missing from the books."""
        accounted = self.kept + sum(self.dropped.values()) + sum(self.unreadable.values())
        if accounted != self.seen:
            raise RuntimeError(f"{where}: {self.seen} records came in, {accounted} are accounted for")
        return self

    @staticmethod
    def total(parts: Sequence[Counts]) -> Counts:
        """Return the sum of shard counts; numeric notes add up, others keep the last value."""
        dropped: Counter[str] = Counter()
        unreadable: Counter[str] = Counter()
        notes: dict[str, float | int | str] = {}
        for part in parts:
            dropped.update(part.dropped)
            unreadable.update(part.unreadable)
            for key, value in part.notes.items():
                old = notes.get(key, 0)
                both = isinstance(value, (int, float)) and isinstance(old, (int, float))
                notes[key] = old + value if both else value  # type: ignore[operator]
        return Counts(
            seen=sum(p.seen for p in parts),
            kept=sum(p.kept for p in parts),
            dropped=dict(sorted(dropped.items())),
            unreadable=dict(sorted(unreadable.items())),
            bytes=sum(p.bytes for p in parts),
            tokens=sum(p.tokens for p in parts),
            flops=sum(p.flops for p in parts),
            notes=notes,
        )


def versions_of(plugins: Iterable[Plugin]) -> list[list[Any]]:
    """Return what a key holds of plug-ins beside their parameters: reference, version, and the digest if external.

    The digest of a built-in part is left out: its version says when results change.
    """
    return [[reference(part), part.version, *([digest(part)] if part.external else [])] for part in with_parts(plugins)]


def parts_of(plugins: Iterable[Plugin]) -> list[Part]:
    """Return what a manifest says of plug-ins."""
    return [
        Part(kind=kind_of(type(part)), reference=reference(part), version=part.version, digest=digest(part))
        for part in with_parts(plugins)
    ]


class Work(BaseModel):
    """One step: its fields are hashed whole into the artifact's key.

    `shards` says how many tasks there are (it must depend on the inputs and the fields only, never on the number of
    workers). `run` does task `rank`: it writes files whose names hold the rank, each through
    `schemas.artifact.writing`, and gives the same bytes whenever it is run again. `finish` runs once, after all
    tasks. Workers may be other processes or other machines: nothing is shared but the files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: ClassVar[int] = 1
    aids: ClassVar[frozenset[str]] = frozenset()  # input roles that only save work: no part of the key
    run_last: ClassVar[bool] = False  # long single tasks: waits until nothing else can run, to share one stage

    def plugins(self) -> Sequence[Plugin]:
        """Return the plug-ins that the fields name; those that these name in turn are found from them."""
        return ()

    def identity(self) -> dict[str, Any]:
        """Return what is hashed into the key: every field, and the plug-ins' versions (see `versions_of`)."""
        versions = versions_of(self.plugins())
        return self.model_dump(mode="json") | ({"plugin_versions": versions} if versions else {})

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        """Return the number of tasks."""
        return 1

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        """Do task `rank`, writing into `out`."""
        raise NotImplementedError

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        """Do what needs all tasks' files; nothing by default."""
