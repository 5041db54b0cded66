"""The model of a recipe that a command names: a mix, or a mix and a seed."""

from __future__ import annotations

from pathlib import Path

from windtunnel.pipelines.engine.mirrors.opening import fetched, open_store
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.schemas.errors import InputError, RecipeError, nearest
from windtunnel.schemas.role import StepName


def chosen_model(recipe_name: str, sets: list[str], name: str, seed: int | None) -> tuple[Plan, Step, Path]:
    """Return the plan of a recipe, the finished training run `MIX`, `train:MIX` or `train:MIX:SEED`, and the store.

    The first seed of the recipe by default. Raises RecipeError for a name that is no model's, and InputError where it
    is not trained yet or its files are not as they were written.
    """
    plan = planned(recipe_name, sets)
    found = _step(plan, name, seed)
    store = open_store(plan.recipe.store)
    artifact = found.artifact(store)
    if not artifact.done:
        raise InputError(f"{found.name} is not trained yet: `windtunnel train {recipe_name} {found.name.names[0]}`")
    fetched(artifact).intact("model")
    return plan, found, store


def _step(plan: Plan, name: str, seed: int | None) -> Step:
    runs = plan.of_kind("train")
    mixes = list(dict.fromkeys(run.name.names[0] for run in runs))
    parts = name.removeprefix("train:").split(":")
    if not runs:
        raise RecipeError("the recipe trains no model: it has no `train:`")
    if parts[0] not in mixes or len(parts) > 2:
        raise RecipeError(f"no model is called {name!r}: {nearest(name, mixes)}")
    seeds = [run.name.names[1] for run in runs if run.name.names[0] == parts[0]]
    wanted = parts[1] if len(parts) == 2 else str(seed) if seed is not None else seeds[0]
    if wanted not in seeds or (seed is not None and wanted != str(seed)):
        raise RecipeError(f"{parts[0]!r} has no model of seed {wanted}: its seeds are {', '.join(seeds)}")
    found = plan.find(StepName("train", parts[0], wanted))
    assert found is not None
    return found
