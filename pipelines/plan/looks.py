"""Looks at a result while its runs go on: earlier comparisons in a store that no recipe declared.

A comparison at 3 seeds, looked at, and another at 8 of the same runs are two tests of one question. `windtunnel run`
and `windtunnel compare` say so, unless `compare: {after: ...}` names the earlier one, or both belong to one declared
plan.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from windtunnel.pipelines.engine.step import Step
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.role import Role, of_kind

PLAN = ("looks", "spending", "interval")  # of a comparison: two are looks of one plan where these are equal


def undeclared(step: Step, store: Path) -> list[int]:
    """Return the numbers of seeds of finished comparisons of fewer of the same runs that `step` does not declare.

    Two comparisons are of the same runs where they share those of the baseline and of a further mix.
    """
    own, config = _pairs({role: run.directory for role, run in of_kind(step.inputs, "run").items()}), _config(step)
    found: set[int] = set()
    for path in store.glob("compare-*"):
        earlier = Artifact(path)
        if path.name == step.directory or path.suffix == ".partial" or not earlier.sound:
            continue
        manifest = earlier.manifest
        if config["looks"] and all(_same(config[name], manifest.config.get(name)) for name in PLAN):
            continue
        if manifest.config.get("baseline") != config["baseline"]:
            continue
        before = _pairs(of_kind(manifest.inputs, "run"))
        shared = [mix for mix in before if mix in own and mix != config["baseline"]]
        for mix in (config["baseline"], *shared) if shared else ():
            if before.get(mix, set()) < own[mix]:
                found.add(len(before[mix]))
    return sorted(found - {*config["after"]})


def _config(step: Step) -> dict[str, Any]:
    return {"looks": (), "after": (), "baseline": ""} | step.work.model_dump()


def _same(one: Any, other: Any) -> bool:
    return (list(one) if isinstance(one, tuple) else one) == (list(other) if isinstance(other, tuple) else other)


def _pairs(runs: dict[Role, str]) -> dict[str, set[str]]:
    """Return the directories of the runs of each mix."""
    found: dict[str, set[str]] = {}
    for role, directory in runs.items():
        found.setdefault(role.names[0], set()).add(directory)
    return found
