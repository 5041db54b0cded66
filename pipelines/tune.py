"""Finds a learning rate for a recipe: its baseline, one seed, on a grid of factors of two around the recipe's rate.

Every run is a step of the store, the same that the recipe runs once the rate is in it. Where the lowest score is at an
end of the grid, the grid grows that way, up to MOST rates. What was found is kept in the store beside the runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.mirrors.opening import fetched, open_store
from windtunnel.pipelines.engine.run import Progress, StepFailed, run
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.store import partial
from windtunnel.pipelines.engine.tasks.task import ERRORS, Task
from windtunnel.pipelines.plan.builder import planned
from windtunnel.schemas.artifact import Artifact, canonical_json, write_text
from windtunnel.schemas.errors import RecipeError, WindtunnelError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.results import RunResult
from windtunnel.schemas.role import StepName
from windtunnel.trainer.objectives._objective import Objective

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
MOST = 9  # rates that are tried
FOLDER = "tuned"  # in the store
DIVERGED = "TrainingError"  # what a run that diverged leaves as the name of its error


class Tuned(NamedTuple):
    """The rates that were tried with their held-out bits per byte, None where training diverged.

    `lr` is the one with the lowest score; `open_end`: it is the highest or the lowest of all, and the score may go on
    falling beyond it. `run` is the name of the run.
    """

    lr: float
    tried: dict[float, float | None]
    open_end: bool
    run: str


class AtRates(Progress):
    """Shows what happens to one run at several rates, each with its rate."""

    def __init__(self, shown: Progress, steps: Mapping[float, Step]) -> None:
        self.shown, self.rates = shown, {step.directory: lr for lr, step in steps.items()}

    def say(self, line: str) -> None:
        self.shown.say(line)

    def stage(self, steps: Sequence[Step], tasks: Sequence[Task]) -> None:
        named = [replace(task, step=self._name(task.step, Path(task.out).stem)) for task in tasks]
        self.shown.stage([self._named(step) for step in steps], named)

    def committed(self, step: Step, artifact: Artifact) -> None:
        self.shown.committed(self._named(step), artifact)

    def end(self) -> None:
        self.shown.end()

    def _named(self, step: Step) -> Step:
        return replace(step, name=StepName.parse(self._name(step.name, step.directory)))

    def _name(self, name: str, directory: str) -> str:
        return f"{name} at lr {self.rates[directory]:g}" if directory in self.rates else name


def tune(recipe_name: str, sets: list[str], stage: int, workers: int, progress: Progress) -> Tuned:
    """Train the baseline at several learning rates of a stage; return the one with the lowest score after the last.

    Raises RecipeError for a recipe without training or comparison, WindtunnelError if no rate can be trained with.
    """
    plan = planned(recipe_name, sets, divided=False)  # all stages after the one in question are trained with it
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
    found = Tuned(_lowest(scores), dict(sorted(scores.items())), bool(_further(scores)), str(name))
    tried = [[lr, score] for lr, score in found.tried.items()]
    fact = {"stage": stage, "lr": found.lr, "open_end": found.open_end, "tried": tried}
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
    """Run the steps at once; return the held-out bits per byte of each, None where training diverged.

    Raises StepFailed for any other failure, with the rate.
    """
    try:
        run(list(steps.values()), store, Where(workers=workers), AtRates(progress, steps))
    except StepFailed as failure:
        for lr, step in steps.items():
            if not step.artifact(store).sound:
                _check_diverged(step, store, lr, failure)
    scores: dict[float, float | None] = {}
    for lr, step in steps.items():
        scores[lr] = None
        if step.artifact(store).sound:
            result = RunResult.model_validate_json((fetched(step.artifact(store)).path / "result.json").read_bytes())
            if result.held_out is None:
                raise WindtunnelError(f"{step.name} has no held-out score by which rates could be told apart")
            scores[lr] = score if math.isfinite(score := result.held_out.bits_per_byte) else None
    return scores


def _check_diverged(step: Step, store: Path, lr: float, failure: StepFailed) -> None:
    """Raise StepFailed unless what ended the run is that it diverged."""
    file = partial(store, step) / ERRORS / "00000.json"
    if not file.exists():
        raise failure
    report = json.loads(file.read_bytes())
    if report["error"] != DIVERGED:
        message = f"step {step.name} at lr {lr:g}: {report['message']}\nTraceback: {file}"
        raise StepFailed(message, report.get("exit_code", 1)) from failure


def _further(scores: Mapping[float, float | None]) -> list[float]:
    """Return the next rate beyond the end of the grid at which the lowest score is, if it is at one."""
    if all(score is None for score in scores.values()):
        return [min(scores) / 2]
    best, rates = _lowest(scores), sorted(scores)
    if best == rates[0]:
        return [best / 2]
    return [best * 2] if best == rates[-1] else []


def _lowest(scores: Mapping[float, float | None]) -> float:
    """Return the rate with the lowest score."""
    return min((score, lr) for lr, score in scores.items() if score is not None)[1]


def print_tuned(found: Tuned, stage: int, as_json: bool, console: Console) -> None:
    """Print the table of rates and what to write into the recipe, or JSON."""
    if as_json:
        tried = [{"lr": lr, "bits_per_byte": score} for lr, score in found.tried.items()]
        whole = {"lr": found.lr, "open_end": found.open_end, "stage": stage, "tried": tried}
        console.print(json.dumps(whole, indent=1), soft_wrap=True)
        return
    for lr, score in found.tried.items():
        shown = "diverged" if score is None else f"{score:.4f} bits per byte{'  <- lowest' if lr == found.lr else ''}"
        console.print(f"lr {lr:<10.3g} {shown}", markup=False)
    for line in _advice(found, stage):
        console.print(line, markup=False, soft_wrap=True)


def _advice(found: Tuned, stage: int) -> list[str]:
    """Return what follows from the scores, and what they were measured on."""
    tried = f"of the {len(found.tried)} rates that were tried"
    rate = f"`lr: {found.lr}` in stage {stage} of the recipe's `stages:`"
    if found.open_end:
        end = "highest" if found.lr == max(found.tried) else "lowest"
        first = f"lr {found.lr:g} scores lowest and is the {end} {tried}: the best lies at it or beyond; "
        first += f"write {rate} and tune again"
    else:
        first = f"lr {found.lr:g} scores lowest {tried}; write {rate}"
    on = (
        f"scores of one run ({found.run}) on the held-out set that `compare:` judges by: "
        "a rate chosen so may favour the baseline"
    )
    return [first, on]
