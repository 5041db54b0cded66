"""The steps of a recipe, in a runnable order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.recipe.recipe import Recipe, Train
from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.role import Role, StepName
from windtunnel.schemas.work import Work


@dataclass
class Plan:
    """The steps of a recipe, each after its inputs; `targets` are those that a whole run makes."""

    recipe: Recipe
    steps: list[Step] = field(default_factory=list)
    targets: list[Step] = field(default_factory=list)
    directory: Path = field(default_factory=plugin_files.directory)  # of the recipe: plug-in files are relative to it

    def add(self, name: str, work: Work, inputs: Mapping[Role, Step] | Mapping[str, Step] | None = None) -> Step:
        """Add a step and return it; raises RecipeError when the name is taken."""
        if self.find(name):
            raise RecipeError(
                f"the plan has two steps called {name!r}: give the parts of one corpus different names (of "
                "plug-in files, the class name counts)"
            )
        step = Step(StepName.parse(name), work, dict(inputs or {}))  # type: ignore[arg-type]
        self.steps.append(step)
        return step

    def find(self, name: str) -> Step | None:
        """Return the step of a name, or None."""
        return next((step for step in self.steps if step.name == name), None)

    def of_kind(self, kind: str) -> list[Step]:
        """Return the steps of a kind, in the order of the plan."""
        return [step for step in self.steps if step.kind == kind]

    def device(self) -> Literal["cpu", "cuda"]:
        """Return the device that the recipe's models run on."""
        from windtunnel.trainer.runtime.device import resolve

        return resolve(self.recipe.train.device) if self.recipe.train is not None else "cpu"

    def compute(self, train: Train) -> dict[str, Any]:
        """Return the fields of a training run that say where and how it is computed, and who looks on."""
        from windtunnel.trainer.runtime.precision import resolve

        device = self.device()
        names = ("threads", "compile", "deterministic", "launch", "watch", "keep", "log", "gradient_noise")
        same = {name: getattr(train, name) for name in names}
        precision = resolve(train.precision, device)
        saving = train.activation_checkpointing
        return {**same, "device": device, "precision": precision, "activation_checkpointing": saving}
