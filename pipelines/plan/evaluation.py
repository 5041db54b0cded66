"""The part of a plan that measures chat models beside their loss: pairs, checkable tasks, wins by a judge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.generation import Generation, completions_of, served
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.check import at

Runs = Mapping[tuple[str, int], Step]


def evaluation(made: Plan, corpora: Mapping[str, Step], rows: Generation, runs: Runs, held_out: Step) -> list[Step]:
    """Add what `evaluate:` and the preferences ask for; return the comparisons, `compare:WHAT`."""
    recipe = made.recipe
    if recipe.compare is None or not runs:
        return []
    found = []
    if recipe.train is not None and recipe.train.preferences is not None:
        text = f"held-out pairs of {recipe.train.preferences}: which answer the model finds better"
        found.append(_compare(made, "preferences", runs, "preferences.parquet", "correct", text))
    wanted = recipe.evaluate
    if wanted is not None and wanted.tasks is not None:
        found.append(_tasks(made, wanted.tasks, corpora, runs))
    if wanted is not None and wanted.win_rate is not None:
        found.append(_wins(made, wanted.win_rate, rows, runs, held_out))
    if wanted is not None and wanted.calibrate is not None:
        _calibrate(made, wanted.calibrate, rows)
    return found


def _calibrate(made: Plan, wanted: Any, rows: Generation) -> Step:
    from windtunnel.generators.judging.calibrate_judge import CalibrateJudge

    judge, reads = served(made, wanted.judge, rows)
    digest = None
    if wanted.pairs is not None:
        try:
            digest = blake3(Path(wanted.pairs).read_bytes()).hexdigest()[:32]
        except OSError as error:
            raise at(("evaluate", "calibrate", "pairs"), f"{wanted.pairs} cannot be read: {error.strerror}") from error
    work = CalibrateJudge(
        judge={wanted.judge: judge},
        file=wanted.pairs,
        digest=digest,
        number=wanted.number,
        completions=completions_of(made),
    )
    return made.add(f"calibrate:{wanted.judge}", work, reads)


def _tasks(made: Plan, wanted: Any, corpora: Mapping[str, Step], runs: Runs) -> Step:
    from windtunnel.trainer.eval.task_scores import TaskScores

    work = TaskScores(tasks=tuple(wanted.tasks), device=made.device())
    steps = {
        (mix, seed): made.add(f"tasks:{mix}:{seed}", work, {"run": run, "documents": corpora[wanted.from_]})
        for (mix, seed), run in runs.items()
    }
    text = f"questions with exact answers, made from documents of {wanted.from_}"
    return _compare(made, "tasks", steps, "items.parquet", "correct", text)


def _wins(made: Plan, wanted: Any, rows: Generation, runs: Runs, held_out: Step) -> Step:
    from windtunnel.generators.judging.win_rate import WinRate
    from windtunnel.trainer.eval.answers import Answers

    assert made.recipe.compare is not None
    baseline = made.recipe.compare.baseline
    work = Answers(questions=wanted.questions, max_tokens=wanted.max_tokens, device=made.device())
    answers = {
        (mix, seed): made.add(f"answers:{mix}:{seed}", work, {"run": run, "questions": held_out})
        for (mix, seed), run in runs.items()
    }
    judge, reads = served(made, wanted.judge, rows)
    steps = {
        (mix, seed): made.add(
            f"wins:{mix}:{seed}",
            WinRate(judge={wanted.judge: judge}, completions=completions_of(made)),
            {"answers": step, "baseline": answers[baseline, seed], **reads},
        )
        for (mix, seed), step in answers.items()
    }
    text = f"held-out questions; {wanted.judge} judges each answer against {baseline}'s, in both orders"
    return _compare(made, "win_rate", steps, "scores.parquet", "win", text, span=0.5)  # the baseline has one half


def _compare(made: Plan, name: str, steps: Runs, scores: str, metric: str, on: str, span: float = 1.0) -> Step:
    from windtunnel.trainer.stats.compare import Compare

    wanted = made.recipe.compare
    assert wanted is not None
    work = Compare(
        baseline=wanted.baseline,
        metric=metric,
        direction="higher",
        span=span,
        interval=wanted.interval,
        scores=scores,
        on=on,
    )
    return made.add(f"compare:{name}", work, {f"run:{mix}:{seed}": step for (mix, seed), step in steps.items()})
