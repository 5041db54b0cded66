"""Looks at a result while its runs go on: earlier comparisons in a store that no recipe declared.

A comparison at 3 seeds, looked at, and another at 8 of the same runs are two tests of one question. `windtunnel run`
says so, unless `compare: {looks: ...}` or `compare: {after: ...}` names the earlier one.
"""

from __future__ import annotations

from pathlib import Path

from windtunnel.pipelines.engine.step import Step
from windtunnel.schemas.artifact import Artifact, Manifest
from windtunnel.schemas.role import Role, of_kind


def undeclared(step: Step, store: Path) -> list[int]:
    """Return the numbers of seeds of finished comparisons of fewer of the same runs that `step` does not declare."""
    own = step.directory
    runs = {role: part.directory for role, part in of_kind(step.inputs, "run").items()}
    config = step.work.model_dump()
    declared = {*config.get("looks", ()), *config.get("after", ())}
    found = set()
    for path in store.glob("compare-*"):
        if path.name == own or path.suffix == ".partial" or not Artifact(path).done:
            continue
        earlier = _runs(Artifact(path).manifest)
        if earlier and len(earlier) < len(runs) and earlier.items() <= runs.items():
            found.add(_seeds(earlier))
    return sorted(found - declared - {_seeds(runs)})


def _runs(manifest: Manifest) -> dict[Role, str]:
    return of_kind(manifest.inputs, "run")


def _seeds(runs: dict[Role, str]) -> int:
    return len({role.names[-1] for role in runs})
