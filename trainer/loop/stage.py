"""The configuration of a training stage: mix, seed, model, schedule, objective, and how it is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from windtunnel.schemas.artifact import Artifact, canonical_json
from windtunnel.schemas.plugin import keyed_spec, make
from windtunnel.schemas.work import versions_of
from windtunnel.trainer.loop.compute import ON_THE_CPU, Compute
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.objectives._objective import Objective
from windtunnel.trainer.schedules._schedule import Schedule


@dataclass(frozen=True)
class Stage:
    """Everything but the inputs that determines the result of a stage bit by bit."""

    mix: str
    seed: int
    model: Model | None  # None: the stage starts from a model directory
    schedule: Schedule
    objective: Objective
    compute: Compute = ON_THE_CPU
    template: str | None = None  # for chat data: a name of ours or the text of a template; None: the tokenizer's own

    @classmethod
    def from_specs(
        cls,
        mix: str,
        seed: int,
        model: Any,
        schedule: Any,
        objective: Any,
        compute: Compute = ON_THE_CPU,
        template: str | None = None,
    ) -> Stage:
        """Build a stage from the specs of a recipe. Raises RecipeError for an invalid spec."""
        return cls(
            mix,
            seed,
            make(Model, model) if model is not None else None,
            make(Schedule, schedule),
            make(Objective, objective),
            compute=compute,
            template=template,
        )

    def digest(self, inputs: Mapping[str, Artifact]) -> str:
        """Return a hash of the configuration and of the input names, which contain their content keys."""
        parts = [part for part in (self.model, self.schedule, self.objective) if part]
        content = {
            "plugins": [keyed_spec(part) for part in parts],
            "versions": versions_of(parts),
            "run": [self.mix, self.seed, *([self.template] if self.template else [])],
            "compute": self.compute.identity(),
            "inputs": {role: artifact.path.name for role, artifact in inputs.items()},
        }
        return blake3(canonical_json(content).encode()).hexdigest()[:32]
