"""Finds a learning rate for a recipe: its baseline, one seed, on a grid of factors of two around the recipe's rate.

Every run is a step of the store, the same that the recipe runs once the rate is in it. Where the best rate is at an end
of the grid, the grid grows that way. Between rates the score is a parabola in the logarithm of the rate, whose lowest
point is the suggestion. What was found is kept in the store beside the runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.mirrors.opening import fetched, open_store
from windtunnel.pipelines.engine.run import Progress, StepFailed, run
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.builder import planned
from windtunnel.schemas.artifact import canonical_json, write_text
from windtunnel.schemas.errors import RecipeError, WindtunnelError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.results import RunResult
from windtunnel.schemas.role import StepName
from windtunnel.trainer.objectives._objective import Objective

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
MOST = 9  # rates that are tried
FOLDER = "tuned"  # in the store


class Tuned(NamedTuple):
    """The rates that were tried with their held-out bits per byte, None where training diverged, and the best one."""

    lr: float
    tried: dict[float, float | None]


def tune(recipe_name: str, sets: list[str], stage: int, workers: int, progress: Progress) -> Tuned:
    """Train the baseline at several learning rates of a stage and return the best, after its last stage's score.

    Raises RecipeError for a recipe without training or comparison, WindtunnelError if no rate can be trained with.
    """
    plan = planned(recipe_name, sets)
    recipe = plan.recipe
    if recipe.train is None or recipe.compare is None:
        raise RecipeError("`tune` needs a recipe with `train:` and `compare:`, whose baseline it trains")
    name = StepName("train", recipe.compare.baseline, recipe.train.seeds[0])
    step = plan.find(name)
    if step is None:
        raise RecipeError(f"the recipe trains no {name!r}")
    if not 0 <= stage < len(step.work.stages):  # type: ignore[attr-defined]
        raise RecipeError(f"--stage {stage}: the recipe has stages 0 to {len(step.work.stages) - 1}")  # type: ignore[attr-defined]
    store = open_store(recipe.store)
    objective: Any = make(Objective, step.work.stages[stage])  # type: ignore[attr-defined]
    scores: dict[float, float | None] = {}
    todo = [factor * objective.lr for factor in FACTORS]
    while todo:
        steps = {lr: _with_rate(step, stage, lr) for lr in todo}
        scores |= _scored(steps, store, workers, progress)
        todo = _further(scores)[: MOST - len(scores)]
    if all(score is None for score in scores.values()):
        raise WindtunnelError("training diverged at every rate that was tried: look at the data and the schedule")
    found = Tuned(best_rate(scores), dict(sorted(scores.items())))
    fact = {"stage": stage, "lr": found.lr, "tried": [[lr, score] for lr, score in found.tried.items()]}
    write_text(store / FOLDER / f"{step.directory}.json", canonical_json({"step": str(name), **fact}))
    return found


def _with_rate(step: Step, stage: int, lr: float) -> Step:
    """Return the step with another learning rate of one stage; its key is that of a recipe that says so."""
    work: Any = step.work
    changed = _as_given(work.stages[stage], lr)
    stages = tuple(changed if number == stage else other for number, other in enumerate(work.stages))
    return Step(step.name, work.model_copy(update={"stages": stages}), step.inputs, step.plugin_directory)


def _as_given(given: Any, lr: float) -> dict[str, Any]:
    """Return the spec of a stage, in a recipe's form, with another rate."""
    if isinstance(given, str):
        return {given: {"lr": lr}}
    ((name, parameters),) = given.items()
    return {name: {**(parameters if isinstance(parameters, Mapping) else {}), "lr": lr}}


def _scored(steps: Mapping[float, Step], store: Path, workers: int, progress: Progress) -> dict[float, float | None]:
    """Run the steps at once; return the held-out bits per byte of each, None where training failed."""
    try:
        run(list(steps.values()), store, Where(workers=workers), progress)
    except StepFailed as failure:
        if not any(step.artifact(store).sound for step in steps.values()) and "learning rate" not in str(failure):
            raise
    scores: dict[float, float | None] = {}
    for lr, step in steps.items():
        scores[lr] = None
        if step.artifact(store).sound:
            result = RunResult.model_validate_json((fetched(step.artifact(store)).path / "result.json").read_bytes())
            scores[lr] = result.held_out.bits_per_byte if result.held_out is not None else result.final_loss
    return scores


def _further(scores: Mapping[float, float | None]) -> list[float]:
    """Return the next rate beyond the end of the grid at which the best one is, if it is at one."""
    known = {lr: score for lr, score in scores.items() if score is not None}
    if not known:
        return [min(scores) / 2]
    best, rates = min(known, key=lambda lr: known[lr]), sorted(scores)
    if best == rates[0]:
        return [best / 2]
    return [best * 2] if best == rates[-1] else []


def best_rate(scores: Mapping[float, float | None]) -> float:
    """Return the lowest point of a parabola in log lr through the best rate and its neighbours, or the best rate."""
    known = sorted((lr, score) for lr, score in scores.items() if score is not None)
    best = min(range(len(known)), key=lambda k: known[k][1])
    if not 0 < best < len(known) - 1:
        return known[best][0]
    (x0, y0), (x1, y1), (x2, y2) = ((math.log(lr), score) for lr, score in known[best - 1 : best + 2])
    left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    curve = (right - left) / (x2 - x0)
    lowest = (x0 + x1) / 2 - left / (2 * curve) if curve > 0 else x1
    return float(f"{math.exp(min(max(lowest, x0), x2)):.2g}")


def print_tuned(found: Tuned, stage: int, as_json: bool, console: Console) -> None:
    """Print the table of rates and what to write into the recipe, or JSON."""
    if as_json:
        tried = [{"lr": lr, "bits_per_byte": score} for lr, score in found.tried.items()]
        console.print(json.dumps({"lr": found.lr, "stage": stage, "tried": tried}, indent=1), soft_wrap=True)
        return
    scores = [score for score in found.tried.values() if score is not None]
    for lr, score in found.tried.items():
        shown = "diverged" if score is None else f"{score:.4f} bits per byte{_bar(score, scores)}"
        console.print(f"lr {lr:<10.3g} {shown}", markup=False)
    console.print(f"best: lr {found.lr:g}, of one seed; write it into stage {stage} of the recipe's `stages:`")


def _bar(score: float, scores: Sequence[float]) -> str:
    return "  <- lowest" if score == min(scores) else ""
