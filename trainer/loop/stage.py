"""What decides the bits of a stage: mix, seed, model, schedule, objective, threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from windtunnel.schemas.artifact import Artifact, canonical_json
from windtunnel.schemas.plugin import full_spec, make
from windtunnel.schemas.work import versions_of
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.objectives._objective import Objective
from windtunnel.trainer.schedules._schedule import Schedule


@dataclass(frozen=True)
class Stage:
    """Everything that decides the bits of a stage, but for the inputs."""

    mix: str
    seed: int
    model: Model | None  # None: the stage goes on from a directory, which says what the model is
    schedule: Schedule
    objective: Objective
    threads: int = 1
    device: str = "cpu"

    @classmethod
    def from_specs(
        cls, mix: str, seed: int, model: Any, schedule: Any, objective: Any, threads: int = 1, device: str = "cpu"
    ) -> Stage:
        """Build a stage from a recipe's words; raises RecipeError with the nearest right one."""
        return cls(
            mix,
            seed,
            make(Model, model) if model is not None else None,
            make(Schedule, schedule),
            make(Objective, objective),
            threads=threads,
            device=device,
        )

    def digest(self, inputs: Mapping[str, Artifact]) -> str:
        """Return the hash of the configuration and of the inputs' names, which hold their content keys."""
        parts = [part for part in (self.model, self.schedule, self.objective) if part]
        whole = {
            "plugins": [full_spec(part) for part in parts],
            "versions": versions_of(parts),
            "run": [self.mix, self.seed, self.threads, self.device],
            "inputs": {role: artifact.path.name for role, artifact in inputs.items()},
        }
        return blake3(canonical_json(whole).encode()).hexdigest()[:32]
