"""What a recipe made, as the sections of a report see it: finished artifacts by step name, and the recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from windtunnel.pipelines.report.printable import one_line
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import Record
from windtunnel.schemas.results import Comparison


@dataclass(frozen=True)
class Made:
    """Finished artifacts by step name, in the order of the plan, and the recipe they were made from."""

    recipe: Mapping[str, Any]
    artifacts: Mapping[str, Artifact]

    def named(self, name: str) -> Artifact | None:
        """Return the artifact of a step, or None when the plan has none or it was deleted."""
        artifact = self.artifacts.get(name)
        return artifact if artifact is not None and artifact.done else None

    def of_kind(self, kind: str) -> dict[str, Artifact]:
        """Return the finished artifacts of `kind` and `kind:what` by what stands after the colon."""
        found = {}
        for name, artifact in self.artifacts.items():
            head, _, what = name.partition(":")
            if head == kind and artifact.done:
                found[what] = artifact
        return found

    def by_directory(self, directory: str) -> Artifact | None:
        """Return the artifact that a manifest's `inputs` names."""
        return next((a for a in self.artifacts.values() if a.path.name == directory and a.done), None)

    @cached_property
    def comparison(self) -> Comparison | None:
        """The comparison of the mixes, if there is one."""
        artifact = self.named("compare")
        if artifact is None or not (artifact.path / "comparison.json").exists():
            return None
        return Comparison.model_validate_json((artifact.path / "comparison.json").read_bytes())

    @cached_property
    def further(self) -> dict[str, tuple[Comparison, pl.DataFrame | None]]:
        """The comparisons beside the main one, `compare:WHAT`, with their mix x source matrices."""
        found = {}
        for what, artifact in self.of_kind("compare").items():
            if what and (artifact.path / "comparison.json").exists():
                matrix = artifact.path / "loss_matrix.parquet"
                comparison = Comparison.model_validate_json((artifact.path / "comparison.json").read_bytes())
                found[what] = comparison, pl.read_parquet(matrix) if matrix.exists() else None
        return found

    @cached_property
    def matrix(self) -> pl.DataFrame | None:
        """The mix x source matrix of the comparison."""
        artifact = self.named("compare")
        if artifact is None or not (artifact.path / "loss_matrix.parquet").exists():
            return None
        return pl.read_parquet(artifact.path / "loss_matrix.parquet")

    def by_run(self, kind: str) -> dict[str, dict[str, Artifact]]:
        """Return the finished artifacts of `kind:MIX:SEED` by mix and seed; the baseline first, as in `mixes`."""
        found: dict[str, dict[str, Artifact]] = {}
        for name, artifact in self.of_kind(kind).items():
            mix, _, seed = name.rpartition(":")
            found.setdefault(mix, {})[seed] = artifact
        order = {mix: number for number, mix in enumerate(self.mixes())}
        return dict(sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))

    @property
    def baseline(self) -> str:
        """The baseline's name; empty when the recipe compares nothing."""
        return str((self.recipe.get("compare") or {}).get("baseline") or "")

    def mixes(self) -> list[str]:
        """Return the mixes' names, the baseline first; the order in which every section shows them."""
        names = [str(name) for name in self.recipe.get("mixes") or {}] or list(self.of_kind("mix"))
        baseline = (self.recipe.get("compare") or {}).get("baseline")
        return sorted(names, key=lambda name: name != baseline)


class Section(Record):
    """One section: its fields are all that its template sees, as `s`.

    `title` heads it, `order` places it. `of` returns None when the recipe made nothing to show.
    """

    title: ClassVar[str]
    order: ClassVar[int]

    @classmethod
    def of(cls, made: Made) -> Section | None:
        """Collect the section from artifacts."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The file's name: template, anchor."""
        return type(self).__module__.rpartition(".")[2]


def read_json(path: Path) -> Any:
    """Return a JSON file's value, or None when there is no such file."""
    return json.loads(path.read_bytes()) if path.exists() else None


def shown(value: Any, limit: int = 120) -> str:
    """Return foreign text for a label: one line, hidden characters visible, cut."""
    return one_line(str(value), limit)
