"""The part of a plan that compares runs, and that measures chat models: pairs, checkable tasks, wins by a judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.generation import Generation, budget_of, completions_of, served
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.recipe import Tasks, WinRate
from windtunnel.schemas.role import Role, StepName

Runs = Mapping[tuple[str, int], Step]  # one step a mix and seed


def comparison(plan: Plan, name: StepName, runs: Runs, inputs: Mapping[str, Step], **fields: Any) -> Step:
    """Add a comparison of the scores of runs; `fields` are those of Compare."""
    from windtunnel.trainer.stats.compare import Compare

    roles = {Role("run", mix, seed): step for (mix, seed), step in runs.items()}
    return plan.add(name, Compare(**fields), {**roles, **inputs})


def evaluation(plan: Plan, corpora: Mapping[str, Step], rows: Generation, runs: Runs, held_out: Step) -> list[Step]:
    """Add what `evaluate:` and the preferences ask for; return the comparisons, `compare:WHAT`."""
    recipe, settings = plan.recipe, plan.recipe.evaluate
    if not runs:
        return []
    comparisons = []
    if recipe.train is not None and recipe.train.preferences is not None:
        text = f"held-out pairs of {recipe.train.preferences}: which answer the model finds better"
        comparisons.append(_compare(plan, "preferences", runs, "preferences.parquet", "correct", text))
    if settings is not None and settings.tasks is not None:
        comparisons.append(_tasks(plan, settings.tasks, corpora, runs))
    if settings is not None and settings.win_rate is not None:
        comparisons.append(_wins(plan, settings.win_rate, rows, runs, held_out))
    return comparisons


def _tasks(plan: Plan, settings: Tasks, corpora: Mapping[str, Step], runs: Runs) -> Step:
    from windtunnel.trainer.eval.task_scores import TaskScores

    work = TaskScores(tasks=tuple(settings.tasks), device=plan.device())
    steps = {
        run: plan.add(StepName("tasks", *run), work, {"run": step, "documents": corpora[settings.from_]})
        for run, step in runs.items()
    }
    text = f"questions with exact answers, made from documents of {settings.from_}"
    return _compare(plan, "tasks", steps, "items.parquet", "correct", text)


def _wins(plan: Plan, settings: WinRate, rows: Generation, runs: Runs, held_out: Step) -> Step:
    from windtunnel.generators.core.generate import FLOOR
    from windtunnel.generators.judging.win_rate import WinRate as WinRateWork
    from windtunnel.trainer.eval.answers import Answers

    assert plan.recipe.compare is not None
    baseline = plan.recipe.compare.baseline
    work = Answers(questions=settings.questions, max_tokens=settings.max_tokens, device=plan.device())
    answers = {
        run: plan.add(StepName("answers", *run), work, {"run": step, "questions": held_out})
        for run, step in runs.items()
    }
    judge, model = served(plan, settings.judge, rows)
    judging = WinRateWork(judge={settings.judge: judge}, completions=completions_of(plan), budget=budget_of(plan))
    floor = {FLOOR: rows.floors[settings.judge]} if settings.judge in rows.floors else {}
    steps = {}
    for (mix, seed), step in answers.items():
        inputs = {"answers": step, "baseline": answers[baseline, seed], **model, **floor}
        steps[mix, seed] = plan.add(StepName("wins", mix, seed), judging, inputs)
    text = f"held-out questions; {settings.judge} judges each answer against {baseline}'s, in both orders"
    return _compare(plan, "win_rate", steps, "scores.parquet", "win", text, span=0.5)  # the baseline has one half


def _compare(plan: Plan, what: str, runs: Runs, scores: str, metric: str, on: str, span: float = 1.0) -> Step:
    settings = plan.recipe.compare
    assert settings is not None
    common = settings.model_dump(include={"baseline", "interval", "looks", "spending", "after"})
    fields = {"metric": metric, "direction": "higher", "span": span, "scores": scores, "on": on}
    return comparison(plan, StepName("compare", what), runs, {}, **common, **fields)
