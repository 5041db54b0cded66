"""The steps of a recipe, in a runnable order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.recipe.recipe import Recipe
from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.work import Work


@dataclass
class Plan:
    """All steps of a recipe in a runnable order, and those that a run is for."""

    recipe: Recipe
    steps: list[Step] = field(default_factory=list)
    targets: list[Step] = field(default_factory=list)
    directory: Path = field(default_factory=plugin_files.directory)  # of the recipe: plug-in files are relative to it

    def add(self, name: str, work: Work, inputs: Mapping[str, Step] | None = None) -> Step:
        """Add a step and return it; names are unique."""
        if any(step.name == name for step in self.steps):
            raise RecipeError(
                f"the plan has two steps called {name!r}: give the parts of one corpus different names (of "
                "plug-in files, the class name counts)"
            )
        step = Step(name, work, dict(inputs or {}))
        self.steps.append(step)
        return step

    def device(self) -> Literal["cpu", "cuda"]:
        """Return where the recipe's models are trained and asked."""
        from windtunnel.trainer.runtime.device import resolve

        return resolve(self.recipe.train.device) if self.recipe.train is not None else "cpu"

    def find(self, name: str) -> Step:
        """Return the step of a name."""
        return next(step for step in self.steps if step.name == name)
