"""One step of a plan: a name, the work, and the steps it reads from; its key is the hash of all that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from windtunnel.schemas import plugin_files
from windtunnel.schemas.artifact import Artifact, Part, key_of
from windtunnel.schemas.role import StepName
from windtunnel.schemas.work import Work, parts_of


@dataclass(frozen=True, eq=False)
class Step:
    """A node of the plan, for example `measure:filtered` or `train:raw:0`; `name` may be given as text."""

    name: StepName
    work: Work
    inputs: Mapping[str, Step] = field(default_factory=dict)
    plugin_directory: Path = field(default_factory=plugin_files.directory)  # of plug-in files that the work names

    @cached_property
    def parts(self) -> list[Part]:
        """The plug-ins of the work, with the digests that their files have when this is first asked."""
        with plugin_files.relative_to(self.plugin_directory):
            return parts_of(self.work.plugins())

    @property
    def pins(self) -> dict[str, str]:
        """Digests that plug-in files beside the recipe must keep while the run goes on."""
        return {
            part.reference.rpartition(":")[0].removeprefix("./"): part.digest
            for part in self.parts
            if plugin_files.is_file_reference(part.reference)
        }

    @contextmanager
    def resolving_plugins(self) -> Iterator[None]:
        """Resolve the plug-in files that the work names, within the block."""
        with plugin_files.relative_to(self.plugin_directory, self.pins):
            yield

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", StepName.parse(self.name))

    @cached_property
    def key(self) -> str:
        """Content key: step name, version, whole configuration and input keys, all that can change the result."""
        inputs = {role: step.key for role, step in self.inputs.items() if role not in self.work.aids}
        return key_of(self.name, self.work.version, self.identity, inputs)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The configuration that is part of the key."""
        with self.resolving_plugins():
            own = plugin_files.digest_of_work(type(self.work))  # of a work that stands in a plug-in file itself
            return self.work.identity() | ({"work_digest": own} if own else {})

    @property
    def kind(self) -> str:
        """The first part of the name."""
        return self.name.kind

    @property
    def directory(self) -> str:
        """Name of the artifact's directory in the store."""
        return self.name.directory(self.key)

    def reads(self) -> list[Step]:
        """Return the steps that read the texts from which this step is made, however far back, by name."""
        steps: set[Step] = {self}
        todo: list[Step] = [self]
        while todo:
            new = set(todo.pop().inputs.values()) - steps
            steps |= new
            todo.extend(new)
        return sorted((step for step in steps if step.kind == "read"), key=lambda step: step.name)

    def artifact(self, store: Path) -> Artifact:
        """Return the step's artifact in a store, finished or not."""
        return Artifact(store / self.directory)
