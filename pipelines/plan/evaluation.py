"""The part of a plan that compares runs and measures models further: pairs, tasks, wins by a judge, probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.generation import Generation, budget_of, completions_of, served
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.check import at
from windtunnel.pipelines.recipe.recipe import Answers, Probe, Tasks, WinRate
from windtunnel.pipelines.recipe.rows import AskedLabels
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.role import Role, StepName, word_for

if TYPE_CHECKING:
    from windtunnel.trainer.models._model import ModelKind
    from windtunnel.trainer.tasks._evaluation import Evaluation

Runs = Mapping[tuple[str, int], Step]  # one step a training and seed


def comparison(plan: Plan, name: StepName, runs: Runs, inputs: Mapping[str, Step], **fields: Any) -> Step:
    """Add a comparison of the scores of runs; `fields` are those of Compare."""
    from windtunnel.trainer.stats.compare import Compare

    roles = {Role("run", mix, seed): step for (mix, seed), step in runs.items()}
    train = plan.recipe.train
    fields["called"] = word_for(plan.recipe.mixes, train.variants if train is not None else ())
    return plan.add(name, Compare(**fields), {**roles, **inputs})


def evaluation(plan: Plan, corpora: Mapping[str, Step], rows: Generation, runs: Runs, held_out: Step) -> list[Step]:
    """Add what `evaluate:` and the preferences ask for; return the comparisons, `compare:WHAT`."""
    settings = plan.recipe.evaluate
    if not runs:
        return []
    comparisons = []
    if rows.held_out_pairs is not None and _judge_pairs(plan):
        text = f"held-out pairs{_of_sets(rows.held_out_pairs)}: which answer the model finds better"
        name = StepName("compare", "preferences")
        comparisons.append(_compare(plan, name, runs, "preferences.parquet", "correct", text))
    if settings is not None and settings.tasks is not None:
        comparisons += _tasks(plan, settings.tasks, corpora, _asked_runs(plan, runs, "tasks"))
    if settings is not None and settings.answers is not None:
        comparisons.append(_answers(plan, settings.answers, _asked_runs(plan, runs, "answers"), held_out))
    if settings is not None and settings.win_rate is not None:
        comparisons.append(_wins(plan, settings.win_rate, rows, _asked_runs(plan, runs, "win_rate"), held_out))
    if settings is not None and settings.probe is not None:
        comparisons.append(_probe(plan, settings.probe, corpora, runs))
    if settings is not None and settings.labels is not None:
        comparisons += _labels(plan, settings.labels, runs, held_out)
    return comparisons


def side_by_side(plan: Plan, runs: Runs) -> Step:
    """Add the table of what was trained: objectives, sizes, costs, scores and probes, one row a training."""
    from windtunnel.trainer.stats.side_by_side import SideBySide

    assert plan.recipe.compare is not None
    inputs = {Role("run", *run): step for run, step in runs.items()}
    probes = {Role("probe", *step.name.names): step for step in plan.of_kind("probe")}
    return plan.add(StepName("side_by_side"), SideBySide(baseline=plan.recipe.compare.baseline), {**inputs, **probes})


def _asked_runs(plan: Plan, runs: Runs, word: str) -> Runs:
    """Return the runs whose models continue a text. Raises RecipeError if those of the baseline do not."""
    asked = {run: step for run, step in runs.items() if _kind(step) == "causal" and _continues(plan, run[0])}
    baseline = plan.recipe.compare.baseline if plan.recipe.compare is not None else ""
    if not any(name == baseline for name, _ in asked):
        raise at(
            ("evaluate", word),
            f"only models that continue a text can be asked, and the baseline {baseline!r} trains none: name another "
            "`compare: {baseline: ...}`, or leave this out",
        )
    return asked


def _continues(plan: Plan, name: str) -> bool:
    """Return whether a run's model still continues texts: whether its last stage leaves it its words, and no head."""
    from windtunnel.trainer.objectives._objective import Objective

    train = plan.recipe.trainings[name][1] if name in plan.recipe.trainings else None
    return train is None or make(Objective, train.stages[-1]).scores


def _kind(run: Step) -> ModelKind:
    from windtunnel.trainer.models._model import Model

    return make(Model, run.work.model).kind  # type: ignore[attr-defined]


def _probe(plan: Plan, settings: Probe, corpora: Mapping[str, Step], runs: Runs) -> Step:
    from windtunnel.trainer.eval.probe_items import ProbeItems
    from windtunnel.trainer.eval.probe_scores import ProbeScores

    chosen = {word: name for word in ("sources", "senses") if (name := getattr(settings, word)) is not None}
    documents = {word: corpora[name] for word, name in chosen.items()}
    items, work = plan.add(StepName("probe_items"), ProbeItems(), documents), ProbeScores(device=plan.device())
    steps = {run: plan.add(StepName("probe", *run), work, {"run": step, "items": items}) for run, step in runs.items()}
    text = {
        "sources": "which source a paragraph of {} is from",
        "senses": "whether two places in {} mean the same of two words that are written as one",
    }
    asked = " and ".join(text[word].format(name) for word, name in chosen.items())
    about = f"linear probes of frozen vectors: {asked}"
    return _compare(plan, StepName("compare", "probe"), steps, "items.parquet", "correct", about)


def _labels(plan: Plan, settings: AskedLabels, runs: Runs, held_out: Step) -> list[Step]:
    """Add a comparison of the share of labels told right, and of the right label's probability."""
    from windtunnel.pipelines.plan.labels import MAJORITY, ON, label_scores

    steps, name = label_scores(plan, settings, runs, held_out), StepName("compare", "labels")
    found = []
    for metric, score in (("correct", ""), ("probability", "probability")):
        of = StepName(*name.split(":"), score) if score else name
        told = {"tasks": {"labels": score}, "score": score, "seedless": (MAJORITY,)}
        found.append(_compare(plan, of, steps, "items.parquet", metric, ON, **told))
    return found


def _judge_pairs(plan: Plan) -> bool:
    """Return whether every run scores held-out pairs, so that their scores can be compared."""
    return all("held_out_preferences" in step.inputs for step in plan.of_kind("train"))


def _of_sets(held_out: Step) -> str:
    names = [name for role in held_out.inputs for name in Role.parse(role).names]
    return "" if names == ["pairs"] else f" of {' and '.join(names)}"


def _tasks(plan: Plan, settings: Tasks, corpora: Mapping[str, Step], runs: Runs) -> list[Step]:
    """Add the tasks; return a comparison for every kind of score, of which there are no means together."""
    from windtunnel.trainer.eval.task_scores import TaskScores, digests_of
    from windtunnel.trainer.tasks._file_task import FileTask

    work = TaskScores(tasks=tuple(settings.tasks), device=plan.device())
    try:
        work = work.model_copy(update={"digests": digests_of(work.plugins())})
        for task in work.plugins():
            if isinstance(task, FileTask):  # a line that cannot be used is told now, not after training
                task.whole()
    except InputError as error:
        raise at(("evaluate", "tasks"), str(error)) from error
    documents = {} if settings.from_ is None else {"documents": corpora[settings.from_]}
    steps = {run: plan.add(StepName("tasks", *run), work, {"run": step, **documents}) for run, step in runs.items()}
    scores = {task.title: task.compared_by for task in work.plugins()}
    comparisons = []
    for number, score in enumerate(sorted(set(scores.values()))):
        name = StepName("compare", "tasks", *([score] if number else []))
        text = _asked(plan, [task for task in work.plugins() if task.compared_by == score], settings.from_)
        step = _compare(plan, name, steps, "items.parquet", "correct", text, tasks=scores, score=score)
        comparisons.append(step)
    return comparisons


def _asked(plan: Plan, tasks: Sequence[Evaluation], corpus: str | None) -> str:
    """Return what the items of tasks are, in words, and whether models may have read their documents in training."""
    groups: dict[tuple[bool, str], list[str]] = {}  # those of documents first
    for task in sorted(tasks, key=lambda task: not task.needs_documents):
        groups.setdefault((task.needs_documents, task.about), []).append(task.title)
    parts = [
        about.format(corpus=corpus) if "{corpus}" in about else f"{about} ({', '.join(titles)})"
        for (_, about), titles in groups.items()
    ]
    text = " and ".join(parts)
    if corpus is not None and any(of_documents for of_documents, _ in groups) and _trained_on(plan, corpus):
        text += f"; {corpus} is a corpus that the mixes hold, so some of its documents may have been read in training"
    return text


def _trained_on(plan: Plan, corpus: str) -> bool:
    """Return whether a mix takes a corpus, or one that shares what it is made from."""
    recipe = plan.recipe
    taken = {part for mix in recipe.mixes for part in recipe.corpora_of(mix)}
    whole = {corpus, *recipe.ancestors(corpus)}
    return any(whole & {part, *recipe.ancestors(part)} for part in taken)


def _answers(plan: Plan, settings: Answers, runs: Runs, held_out: Step) -> Step:
    from windtunnel.trainer.eval.exact_answers import ExactAnswers

    work = ExactAnswers(questions=settings.questions, max_tokens=settings.max_tokens, device=plan.device())
    steps = {
        run: plan.add(StepName("exact_answers", *run), work, {"run": step, "questions": held_out})
        for run, step in runs.items()
    }
    text = "held-out questions; an answer is right if it equals theirs but for case, spaces and outer punctuation"
    return _compare(plan, StepName("compare", "answers"), steps, "items.parquet", "correct", text, by_question=True)


def _wins(plan: Plan, settings: WinRate, rows: Generation, runs: Runs, held_out: Step) -> Step:
    from windtunnel.generators.core.generate import FLOOR
    from windtunnel.generators.judging.win_rate import WinRate as WinRateWork
    from windtunnel.trainer.eval.answers import Answers

    assert plan.recipe.compare is not None
    baseline = plan.recipe.compare.baseline
    work = Answers(questions=settings.questions, max_tokens=settings.max_tokens, device=plan.device())
    answers = {
        run: plan.add(StepName("answers", *run), work, {"run": step, "questions": rows.questions or held_out})
        for run, step in runs.items()
    }
    judge, model = served(plan, settings.judge, rows)
    judging = WinRateWork(judge={settings.judge: judge}, completions=completions_of(plan), budget=budget_of(plan))
    floor = {FLOOR: rows.floors[settings.judge]} if settings.judge in rows.floors else {}
    steps = {}
    for (mix, seed), step in answers.items():
        inputs = {"answers": step, "baseline": answers[baseline, seed], **model, **floor}
        steps[mix, seed] = plan.add(StepName("wins", mix, seed), judging, inputs)
    asked = "your own questions" if rows.questions is not None else "held-out questions"
    text = f"{asked}; {settings.judge} judges each answer against {baseline}'s, in both orders"
    name = StepName("compare", "win_rate")
    return _compare(plan, name, steps, "scores.parquet", "win", text, span=0.5)  # the baseline has one half


def _compare(plan: Plan, name: StepName, runs: Runs, scores: str, metric: str, on: str, **more: Any) -> Step:
    settings = plan.recipe.compare
    assert settings is not None
    common = settings.model_dump(include={"baseline", "interval", "looks", "spending", "after"})
    fields = {"metric": metric, "direction": "higher", "span": 1.0, "scores": scores, "on": on, **more}
    main = plan.find("compare")  # which knows the shares of sets in the mixes, and holds verdicts back by them
    shares = main.work.model_dump(include={"shares", "shares_by", "tolerance"}) if main is not None else {}
    trained: dict[str, Step] = {Role("encoded", mix): run for (mix, _), run in reversed(_trained(plan).items())}
    inputs = trained if shares.get("shares") else {}
    return comparison(plan, name, runs, inputs, **common, **fields, **shares)


def _trained(plan: Plan) -> dict[tuple[str, str], Step]:
    return {(step.name.names[0], step.name.names[1]): step for step in plan.of_kind("train")}
