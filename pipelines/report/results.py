"""The results of a recipe as the sections of a report read them: finished artifacts by step name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import Record
from windtunnel.schemas.results import Comparison
from windtunnel.schemas.role import StepName, run_names, word_for


@dataclass(frozen=True)
class Results:
    """A recipe, and its artifacts by step name in the order of the plan."""

    recipe: Mapping[str, Any]
    artifacts: Mapping[str, Artifact]

    @cached_property
    def finished(self) -> dict[StepName, Artifact]:
        """The artifacts that are finished and were not deleted."""
        return {StepName.parse(name): artifact for name, artifact in self.artifacts.items() if artifact.done}

    def named(self, *parts: str) -> Artifact | None:
        """Return the finished artifact of a step, or None."""
        return self.finished.get(StepName(*parts))

    def of_kind(self, kind: str) -> dict[str, Artifact]:
        """Return the finished artifacts of the steps `KIND` and `KIND:WHAT` by WHAT."""
        return {name.what: artifact for name, artifact in self.finished.items() if name.kind == kind}

    def by_directory(self, directory: str | None) -> Artifact | None:
        """Return the finished artifact of a directory that the `inputs` of a manifest name, or None."""
        return next((artifact for artifact in self.finished.values() if artifact.path.name == directory), None)

    def by_run(self, kind: str) -> dict[str, dict[str, Artifact]]:
        """Return the finished artifacts of the steps `KIND:MIX:SEED` by mix and seed, in the order of `mixes`."""
        runs: dict[str, dict[str, Artifact]] = {}
        for name, artifact in self.finished.items():
            if name.kind == kind:
                mix, seed = name.names
                runs.setdefault(mix, {})[seed] = artifact
        names = [*run_names(self.mixes(), self._variants()), *self.mixes()]
        order = {name: number for number, name in enumerate(sorted(names, key=lambda name: name != self.baseline))}
        return dict(sorted(runs.items(), key=lambda item: (order.get(item[0], len(order)), item[0])))

    @cached_property
    def comparisons(self) -> dict[str, tuple[Comparison, pl.DataFrame | None]]:
        """The comparisons and their mix x source matrices; the main one has the name '', others are `compare:NAME`."""
        return {
            what: (Comparison.read(artifact.path), pl.read_parquet(matrix) if matrix.exists() else None)
            for what, artifact in self.of_kind("compare").items()
            if (artifact.path / "comparison.json").exists()
            for matrix in [artifact.path / "loss_matrix.parquet"]
        }

    @property
    def comparison(self) -> Comparison | None:
        """The main comparison, if there is one."""
        return self.comparisons.get("", (None, None))[0]

    @property
    def matrix(self) -> pl.DataFrame | None:
        """The mix x source matrix of the main comparison."""
        return self.comparisons.get("", (None, None))[1]

    @property
    def baseline(self) -> str:
        """The baseline's name; empty when the recipe compares nothing."""
        return str((self.recipe.get("compare") or {}).get("baseline") or "")

    @property
    def called(self) -> str:
        """What the runs that are compared are called: mix, variant or training."""
        return word_for(self.mixes(), self._variants())

    def _variants(self) -> list[str]:
        return list((self.recipe.get("train") or {}).get("variants") or {})

    def mixes(self) -> list[str]:
        """Return the names of the mixes, the baseline first."""
        names = [str(name) for name in self.recipe.get("mixes") or {}] or list(self.of_kind("mix"))
        return sorted(names, key=lambda name: name != self.baseline)


class Section(Record):
    """A section of the report; its template sees the fields, as `s`.

    `title` is its heading; sections are shown by `order`.
    """

    title: ClassVar[str]
    order: ClassVar[int]

    @classmethod
    def of(cls, results: Results) -> Section | None:
        """Return the section, or None when there is nothing to show."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The name of the section's file, its template and its anchor."""
        return type(self).__module__.rpartition(".")[2]


def read_json(path: Path) -> Any:
    """Return the value of a JSON file, or None when there is no such file."""
    return json.loads(path.read_bytes()) if path.exists() else None
