"""Runs a recipe for the command line: plan, run, then print the answer and where the report is."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from windtunnel.pipelines.engine.executors import Where, parse_options
from windtunnel.pipelines.engine.mirrors.opening import address_of, check_executor, fetched, open_store
from windtunnel.pipelines.engine.run import run
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.builder import placed_errors, planned
from windtunnel.pipelines.plan.looks import undeclared
from windtunnel.pipelines.plan.notes import rescaled
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.views.console import terminal
from windtunnel.pipelines.views.model_costs import spent_line
from windtunnel.pipelines.views.terminal import TerminalProgress
from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import RecipeError, nearest
from windtunnel.schemas.role import StepName

ANSWERS = ("compare", "side_by_side")  # kinds of steps whose results are printed


def run_recipe(
    recipe_name: str,
    sets: list[str],
    until: str | None,
    executor: str,
    workers: int | None,
    wait: bool,
    console: Console,
    options: Sequence[str] = (),
    verify: bool = False,
) -> Plan:
    """Run a recipe (or up to the steps that `until` names) and print what came of it.

    `verify`: hold every finished step against the digests of its files, not only what is read and printed.
    """
    recipe_plan = planned(recipe_name, sets)
    targets = named(recipe_plan, until) if until else recipe_plan.targets
    where = Where(executor=executor, workers=workers or os.cpu_count() or 1, options=parse_options(options))
    check_executor(recipe_plan.recipe.store, executor)
    store = open_store(recipe_plan.recipe.store)
    answers = {step.kind for step in targets} & {"compare", "report"}
    shown = [step for step in recipe_plan.steps if answers and step.kind in ANSWERS]
    if any(step.kind == "train" and not step.artifact(store).sound for step in recipe_plan.steps):
        for note in checked_template(recipe_name, recipe_plan):
            console.print(f"warning: {note}", soft_wrap=True, markup=False)
    if any(step.kind in ("mix", "pairs") and not step.artifact(store).done for step in recipe_plan.steps):
        for note in rescaled(recipe_plan):
            console.print(f"note: {note}", soft_wrap=True, markup=False)
    outcome = run(
        targets, store, where, TerminalProgress(console, lambda: spent_line(recipe_plan)), wait, shown, verify
    )
    console.print(f"{len(outcome.executed)} steps executed in {outcome.seconds:.1f} s")
    if answers:
        _answer(recipe_plan, store, console)
        _warn_of_looks(recipe_plan, store, console)
    for step in targets:
        if step.kind == "report":
            console.print(str(fetched(step.artifact(store)).path / "report.html"))
        elif until:
            console.print(address_of(step.artifact(store)))
    return recipe_plan


def checked_template(recipe_name: str, recipe_plan: Plan) -> list[str]:
    """Return what the student's template refuses of the rows; a RecipeError names the recipe's line."""
    from windtunnel.pipelines.plan.template_check import template_notes

    with placed_errors(recipe_name), plugin_files.relative_to(recipe_plan.directory):
        return template_notes(recipe_plan)


def compared(
    recipe_name: str,
    sets: list[str],
    workers: int | None,
    wait: bool,
    as_json: bool,
    console: Console,
    models: bool = False,
) -> None:
    """Run what the comparison needs, then print its table, or its JSON; `models`: the trainings side by side alone."""
    recipe_plan = planned(recipe_name, sets)
    store = open_store(recipe_plan.recipe.store)
    target = named(recipe_plan, "compare")  # the main comparison alone is what scripts read
    if models:
        target = named(recipe_plan, "side_by_side") if recipe_plan.find("side_by_side") else []
        if not target:
            raise RecipeError("the recipe has one training alone: `train: {variants: ...}` names several")
    elif not as_json:
        target = [step for step in recipe_plan.steps if step.kind in ANSWERS]
    quiet = terminal(stderr=True) if as_json else console
    run(target, store, Where(workers=workers or os.cpu_count() or 1), TerminalProgress(quiet), wait)
    if models:
        from windtunnel.pipelines.views.tables import print_trainings

        print_trainings(fetched(target[0].artifact(store)).path, as_json, console)
        return
    _warn_of_looks(recipe_plan, store, terminal(stderr=True))
    if as_json:
        from windtunnel.schemas.results import Comparison

        comparison = Comparison.read(fetched(target[0].artifact(store)).path)
        console.print(json.dumps([effect.contract() for effect in comparison.effects], indent=1), soft_wrap=True)
    else:
        _answer(recipe_plan, store, console)


def named(recipe_plan: Plan, name: str) -> list[Step]:
    """Return the steps of a name (`decide:filtered`), or of a kind (`train`), or below a name (`train:raw`).

    Raises RecipeError with the nearest right name.
    """
    exact = [step for step in recipe_plan.steps if step.name == name]
    matching = exact or [step for step in recipe_plan.steps if step.name.within(name)]
    if not matching:
        kinds = {step.kind for step in recipe_plan.steps}
        raise RecipeError(
            f"the plan has no step {name!r}: {nearest(name, kinds | {s.name for s in recipe_plan.steps})}"
        )
    return matching


def _warn_of_looks(recipe_plan: Plan, store: Path, console: Console) -> None:
    step = recipe_plan.find("compare")
    if step is None or not step.artifact(store).done or not (earlier := undeclared(step, store)):
        return
    looks = ", ".join(map(str, earlier))
    instead = "no `looks:`, and " if step.work.model_dump().get("looks") else ""
    console.print(
        f"warning: these runs were compared at {looks} seeds before, outside the plan of this comparison: two looks "
        f"err more often than one. Judge by {instead}`compare: {{after: [{looks}]}}`, or plan looks for seeds that are "
        "not yet seen"
    )


def _answer(recipe_plan: Plan, store: Path, console: Console) -> None:
    """Print the main comparison, every further one (`compare:WHAT`) in a line, the trainings; those finished."""
    from windtunnel.pipelines.views.tables import print_comparison, print_further, print_trainings

    steps = [step for step in recipe_plan.steps if step.kind in ANSWERS and step.artifact(store).done]
    for step in sorted(steps, key=lambda step: step.name != "compare"):
        if step.kind == "side_by_side":
            print_trainings(fetched(step.artifact(store)).path, False, console)
        elif step.name == "compare":
            print_comparison(fetched(step.artifact(store)).path, console)
        else:
            print_further(StepName.parse(step.name).what, fetched(step.artifact(store)).path, console)
