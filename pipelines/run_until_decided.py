"""Runs a recipe look by look: at each declared number of seeds, and no further once everything is decided."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from rich.console import Console

from windtunnel.pipelines.engine.mirrors.opening import fetched, open_store
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.results import Comparison
from windtunnel.trainer.stats.interim_analyses import LOOKS

Run = Callable[[list[str]], Plan]  # runs a recipe with `--set` changes


def run_until_decided(recipe_name: str, sets: list[str], run: Run, console: Console) -> Plan:
    """Run a recipe at each of its looks until no effect is undecided, and return the last plan.

    The looks are those of `compare: {looks: ...}`, or by default LOOKS; each adds seeds and spends its part of the
    error. Seeds that the recipe does not name are the smallest numbers that it leaves. Raises RecipeError for a recipe
    without a comparison.
    """
    recipe = planned(recipe_name, sets).recipe
    if recipe.compare is None or recipe.train is None:
        raise RecipeError("--until-decided needs a recipe with `train:` and `compare:`")
    looks = list(recipe.compare.looks or LOOKS)
    seeds = first_seeds(recipe.train.seeds, looks[-1])
    for number, look in enumerate(looks, start=1):
        plan = run([*sets, f"compare.looks={looks}", f"train.seeds={seeds[:look]}"])
        step = plan.find("compare")
        assert step is not None
        effects = Comparison.read(fetched(step.artifact(open_store(plan.recipe.store))).path).effects
        open_ = [effect.mix for effect in effects if effect.verdict == "undecided"]
        if not open_:
            break
        left = f"the next look is at {looks[number]} seeds" if number < len(looks) else "that was the last look"
        console.print(f"look {number} of {len(looks)}, {look} seeds: undecided: {', '.join(open_)}; {left}")
    return plan


def first_seeds(named: Sequence[int], number: int) -> list[int]:
    """Return `number` seeds: those named, then the smallest numbers that are not."""
    rest = (seed for seed in itertools.count() if seed not in named)
    return [*named, *itertools.islice(rest, max(0, number - len(named)))][:number]
