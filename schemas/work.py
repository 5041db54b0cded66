"""The work of a step: sharded, with record counts, and configured by its fields alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from windtunnel.schemas.artifact import Artifact, Part
from windtunnel.schemas.plugin import Plugin, digest, kind_of, reference, with_parts


class Counts(BaseModel):
    """Record counts of one shard: seen = kept + dropped (by reason) + unreadable (by error)."""

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
        """Return self. Raises RuntimeError if the counts do not add up to the number of records seen."""
        accounted = self.kept + sum(self.dropped.values()) + sum(self.unreadable.values())
        if accounted != self.seen:
            raise RuntimeError(f"{where}: {self.seen} records came in, {accounted} are accounted for")
        return self

    @staticmethod
    def total(parts: Sequence[Counts]) -> Counts:
        """Return the sum of shard counts; numeric notes are added, of other notes the last value is kept."""
        total = Counts()
        dropped: Counter[str] = Counter()
        unreadable: Counter[str] = Counter()
        for part in parts:
            for name in ("seen", "kept", "bytes", "tokens", "flops"):
                setattr(total, name, getattr(total, name) + getattr(part, name))
            dropped.update(part.dropped)
            unreadable.update(part.unreadable)
            for key, value in part.notes.items():
                old = total.notes.get(key, 0)
                total.notes[key] = value if isinstance(value, str) or isinstance(old, str) else old + value
        total.dropped, total.unreadable = dict(sorted(dropped.items())), dict(sorted(unreadable.items()))
        return total


def versions_of(plugins: Iterable[Plugin]) -> list[list[Any]]:
    """Return the part of a key that identifies plug-ins: reference, version, and the digest of external ones.

    The digest of a built-in part is omitted, because its version changes whenever its results do.
    """
    return [[reference(part), part.version, *([digest(part)] if part.external else [])] for part in with_parts(plugins)]


def parts_of(plugins: Iterable[Plugin]) -> list[Part]:
    """Return the manifest entries of plug-ins."""
    return [
        Part(kind=kind_of(type(part)), reference=reference(part), version=part.version, digest=digest(part))
        for part in with_parts(plugins)
    ]


class Work(BaseModel):
    """The work of one step; all of its fields are hashed into the artifact's key.

    `shards` returns the number of tasks, which may depend on the inputs and the fields, but not on the number of
    workers. `run` executes task `rank`: it writes files whose names contain the rank through
    `schemas.artifact.writing`, and writes the same bytes whenever it is repeated. `finish` runs once after all tasks.
    Workers may be other processes or machines; they share files only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: ClassVar[int] = 1
    aids: ClassVar[frozenset[str]] = frozenset()  # input roles that only save or permit work: not part of the key
    run_last: ClassVar[bool] = False  # for long single tasks, which then share one stage

    def plugins(self) -> Sequence[Plugin]:
        """Return the plug-ins that the fields name, without nested ones."""
        return ()

    def identity(self) -> dict[str, Any]:
        """Return the content of the key: every field, and the plug-ins' versions (see `versions_of`)."""
        versions = versions_of(self.plugins())
        return self.model_dump(mode="json") | ({"plugin_versions": versions} if versions else {})

    @property
    def cores(self) -> int:
        """The cores that a task keeps busy; on one machine no more tasks run at once than have theirs."""
        return 1

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        """Return the number of tasks."""
        return 1

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        """Execute task `rank`, writing into `out`."""
        raise NotImplementedError

    def redone(self, damaged: Set[str], files: Set[str]) -> Set[str]:
        """Return which files of an interrupted task go, so that it writes the damaged ones again."""
        return damaged

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        """Combine the files of all tasks; does nothing by default."""
