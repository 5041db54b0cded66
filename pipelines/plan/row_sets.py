"""The part of a plan that makes sets of rows: read, cleaned, decided on and selected, or generated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.generators.core.generator import Generator
from windtunnel.pipelines.dedup._dedup import Dedup
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.corpora import View, ruled
from windtunnel.pipelines.plan.generation import Generation, generator_step, model_work, united
from windtunnel.pipelines.plan.judging import calibrated
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.check import at, placing
from windtunnel.pipelines.recipe.rows import Rows
from windtunnel.schemas.plugin import find, full_spec, make, split
from windtunnel.schemas.role import StepName, numbered

CONVERSATIONS, PREFERENCES = "conversations", "preferences"
# Defaults of generators under `clean:` and `select:`: near-duplicates are a matter of `dedup:`, and rows stay whole.
OF_ROWS = {"near_duplicate": None, "rounds": "all"}
WHOLE = "conversation"  # the text by which exact duplicates are found


def row_sets(plan: Plan, corpora: Mapping[str, Step]) -> Generation:
    """Add the recipe's models and sets of rows to the plan, each after what it is made from."""
    rows = Generation(plan, corpora)
    for name, model in plan.recipe.models.items():
        if model.url is None:
            rows.models[name] = plan.add(StepName("model", name), model_work(model))
    calibrated(rows)
    for name in plan.recipe.sets:
        _set(rows, name)
    return rows


def _set(rows: Generation, name: str) -> Step:
    if name not in rows.sets:
        make_ = _own_rows if name in rows.plan.recipe.rows else _generated
        rows.sets[name], rows.holds[name] = make_(rows, name)
    return rows.sets[name]


def _generated(rows: Generation, name: str) -> tuple[Step, str]:
    """Add a generated set after its inputs; return its step and what it holds."""
    generated = rows.plan.recipe.generate[name]
    inputs = {role: _source(rows, name, role, sources) for role, sources in generated.from_.items()}
    return generator_step(rows, StepName("generate", name), generated.with_, inputs)


def _source(rows: Generation, name: str, role: str, sources: str | list[str]) -> Step:
    """Return the step that a generator reads in a role: one corpus or set, or the union of several."""
    names = [sources] if isinstance(sources, str) else sources
    of_rows = [source in rows.plan.recipe.sets for source in names]
    if len(set(of_rows)) > 1:
        raise at(("generate", name, "from", role), "documents and rows cannot be joined into one input")
    steps = {source: _set(rows, source) if of_rows[0] else rows.corpora[source] for source in names}
    return united(rows.plan, StepName("union", name, role), steps, "rows" if of_rows[0] else "kept")


def _own_rows(rows: Generation, name: str) -> tuple[Step, str]:
    """Add a set of `rows:` with all that is done to it; return its step and what it holds."""
    settings = rows.plan.recipe.rows[name]
    step, holds = _origin(rows, name, settings)
    for word, spec in (("clean", settings.clean), ("", None), ("select", settings.select)):
        if not word:
            step = _decided(rows.plan, name, settings, step)
        elif spec is not None:
            if holds == PREFERENCES:
                raise at(("rows", name, word), f"`{word}:` is for conversations, and {name!r} holds preferences")
            step, holds = _selected(rows, StepName(word, name), spec, step)
    return step, holds


def _selected(rows: Generation, name: StepName, spec: Any, step: Step) -> tuple[Step, str]:
    """Add the work of a generator on rows; one that looks at a row at a time runs on all cores."""
    from windtunnel.generators.core.cleaner import Cleaner
    from windtunnel.pipelines.rows.clean import CleanRows

    label, params = split("generator", spec)
    cls = find(Generator, label)
    given = params if isinstance(params, dict) else {str(cls.primary): params}
    kind = make(
        Generator, {label: {**{key: value for key, value in OF_ROWS.items() if key in cls.model_fields}, **given}}
    )
    if isinstance(kind, Cleaner) and kind.alone:
        return rows.plan.add(name, CleanRows(kind=full_spec(kind)), {CONVERSATIONS: step}), CONVERSATIONS
    return generator_step(rows, name, full_spec(kind), {CONVERSATIONS: step})


def _origin(rows: Generation, name: str, settings: Rows) -> tuple[Step, str]:
    if settings.source is not None:
        with placing("rows", name, "source"):
            step = read_rows(rows.plan, StepName("read", name), settings.source, settings.layout)
        return step, step.work.gives  # type: ignore[attr-defined]
    steps = {parent: _set(rows, parent) for parent in settings.parents}
    holds = {rows.holds[parent] for parent in settings.parents}
    if len(holds) > 1:
        raise at(("rows", name, "from"), "conversations and preferences cannot be joined into one set")
    return united(rows.plan, StepName("union", name), steps, "rows"), holds.pop()


def read_rows(plan: Plan, name: StepName, source: Any, layout: Any = None) -> Step:
    """Add the reading of a source of rows."""
    from windtunnel.pipelines.rows.read_rows import read_rows_work

    return plan.add(name, read_rows_work(source, layout))


def _decided(plan: Plan, name: str, settings: Rows, rows: Step) -> Step:
    """Add rules, deduplication and decontamination of the rows' texts, and the step that applies them."""
    from windtunnel.pipelines.rows.decided import DecidedRows

    if not (settings.rules or settings.methods or settings.decontaminate):
        return rows
    from windtunnel.pipelines.rows.texts import RowTexts, telling_numbers_apart

    texts: dict[str, Step] = {}

    def seen(on: str, view: View | None) -> View:
        """Return the rows as texts of a kind, with what was decided and measured so far."""
        if on not in texts:
            texts[on] = plan.add(StepName("texts", name, on), RowTexts(on=on), {"rows": rows})  # type: ignore[arg-type]
        return View(texts[on], view.decisions, view.measures) if view else View(texts[on])

    view: View | None = None
    if settings.rules:
        view = ruled(plan, ("rows", name), name, settings.rules, seen(settings.on.rules, view))
        if view.documents is not texts[settings.on.rules]:
            raise at(("rows", name, "rules"), "a rule here rewrites text, and rows stay or go whole: leave it out")
    for number, spec in enumerate(settings.methods, start=1):
        method = make(Dedup, telling_numbers_apart(spec))
        view = seen(WHOLE if method.name == "exact" else settings.on.dedup, view)
        label = name if number == 1 else f"{name}:{number}"
        decided = method.steps(plan.add, label, view.documents, view.decisions, view.measures)
        view = View(view.documents, decided, (*view.measures, decided))
    if settings.decontaminate is not None:
        view = _decontaminated(plan, name, settings, seen(settings.on.decontaminate, view))
    assert view is not None and view.decisions is not None
    inputs = {"documents": rows, "decisions": view.decisions, **numbered("measures", view.measures)}
    return plan.add(StepName("rows", name), DecidedRows(), inputs)


def _decontaminated(plan: Plan, name: str, settings: Rows, view: View) -> View:
    from windtunnel.pipelines.datasets.decontaminate import Decontamination
    from windtunnel.pipelines.rows.evaluations import evaluation_step

    parameters, sets = settings.decontamination
    evaluations = {key: evaluation_step(plan.add, source, name, key) for key, source in sets.items()}
    decided = Decontamination(**parameters).steps(plan.add, name, view.documents, view.decisions, evaluations)
    return View(view.documents, decided, view.measures)
