"""One step of a plan: a name, the work, and the steps it reads from; its key is the hash of all that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from windtunnel.schemas.artifact import Artifact, key_of
from windtunnel.schemas.work import Work


@dataclass(frozen=True, eq=False)
class Step:
    """A node of the plan. `name` is `kind:what`, for example `measure:filtered` or `train:raw:0`."""

    name: str
    work: Work
    inputs: Mapping[str, Step] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """Content key: step name, version, whole configuration and input keys, all that can change the result."""
        inputs = {role: step.key for role, step in self.inputs.items() if role not in self.work.aids}
        return key_of(self.name, self.work.version, self.work.identity(), inputs)

    @property
    def kind(self) -> str:
        """The part of the name before the first colon."""
        return self.name.partition(":")[0]

    @property
    def directory(self) -> str:
        """Name of the artifact's directory in the store."""
        return f"{self.name.replace(':', '.')}-{self.key[:8]}"

    def artifact(self, store: Path) -> Artifact:
        """Return the step's artifact in a store, finished or not."""
        return Artifact(store / self.directory)
