"""The part of a plan that reads rows, cleans and selects them, holds some out and mixes the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.pipelines.dedup._dedup import Dedup
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.corpora import View, ruled
from windtunnel.pipelines.plan.generation import Generation, generator_step, united
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.check import at, placing
from windtunnel.pipelines.recipe.recipe import Rows
from windtunnel.pipelines.recipe.weights import positive
from windtunnel.schemas.plugin import make
from windtunnel.schemas.role import Role, StepName, numbered

CONVERSATIONS, PREFERENCES = "conversations", "preferences"
WHOLE = "conversation"  # the text by which exact duplicates are found


def own_rows(rows: Generation, name: str) -> tuple[Step, str]:
    """Add a set of `rows:` with all that is done to it; return its step and what it holds."""
    settings = rows.plan.recipe.rows[name]
    step, holds = _origin(rows, name, settings)
    for word, spec in (("clean", settings.clean), ("", None), ("select", settings.select)):
        if not word:
            step = _decided(rows.plan, name, settings, step)
        elif spec is not None:
            if holds == PREFERENCES:
                raise at(("rows", name, word), f"`{word}:` is for conversations, and {name!r} holds preferences")
            step, holds = generator_step(rows, StepName(word, name), spec, {CONVERSATIONS: step})
    return step, holds


def _origin(rows: Generation, name: str, settings: Rows) -> tuple[Step, str]:
    if settings.source is not None:
        with placing("rows", name, "source"):
            step = read_rows(rows.plan, StepName("read", name), settings.source, settings.layout)
        return step, step.work.gives  # type: ignore[attr-defined]
    steps = {parent: rows.set(parent) for parent in settings.parents}
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
    texts: dict[str, Step] = {}

    def seen(on: str, view: View | None) -> View:
        """Return the rows as texts of a kind, with what was decided and measured so far."""
        from windtunnel.pipelines.rows.texts import RowTexts

        if on not in texts:
            texts[on] = plan.add(StepName("texts", name, on), RowTexts(on=on), {"rows": rows})  # type: ignore[arg-type]
        return View(texts[on], view.decisions, view.measures) if view else View(texts[on])

    view: View | None = None
    if settings.rules:
        view = ruled(plan, ("rows", name), name, settings.rules, seen(settings.on.rules, view))
        if view.documents is not texts[settings.on.rules]:
            raise at(("rows", name, "rules"), "a rule here rewrites text, and rows stay or go whole: leave it out")
    for number, spec in enumerate(settings.methods, start=1):
        method = make(Dedup, _with_numbers(spec))
        view = seen(WHOLE if method.name == "exact" else settings.on.dedup, view)
        label = name if number == 1 else f"{name}:{number}"
        decided = method.steps(plan.add, label, view.documents, view.decisions, view.measures)
        view = View(view.documents, decided, (*view.measures, decided))
    if settings.decontaminate is not None:
        view = _decontaminated(plan, name, settings, seen(settings.on.decontaminate, view))
    assert view is not None and view.decisions is not None
    inputs = {"documents": rows, "decisions": view.decisions, **numbered("measures", view.measures)}
    return plan.add(StepName("rows", name), DecidedRows(), inputs)


def _with_numbers(spec: Any) -> Any:
    """Return a deduplication method that tells numbers apart, unless it says otherwise: in questions they matter."""
    name, params = (spec, {}) if isinstance(spec, str) else next(iter(spec.items()))
    if name != "minhash":
        return spec
    params = params if isinstance(params, dict) else {"threshold": params}
    return {name: {"normalise": {"numbers": False}, **params}}


def _decontaminated(plan: Plan, name: str, settings: Rows, view: View) -> View:
    from windtunnel.pipelines.datasets.decontaminate import Decontamination
    from windtunnel.pipelines.sources._read import read_work

    parameters, sets = settings.decontamination
    evaluations = {key: plan.add(StepName("read", name, key), read_work(source)) for key, source in sets.items()}
    decided = Decontamination(**parameters).steps(plan.add, name, view.documents, view.decisions, evaluations)
    return View(view.documents, decided, view.measures)


def held_out_rows(plan: Plan, rows: Generation) -> Step:
    """Add what is held out, conversations and pairs, then the training part of each set; return the conversations."""
    from windtunnel.pipelines.datasets.chat_split import ChatSplit

    settings = plan.recipe.held_out
    assert settings is not None
    conversations, pairs = _to_hold_out(plan, rows)
    share = settings.share
    if settings.files is not None:
        with placing("held_out", "files"):
            read = read_rows(plan, StepName("read", "held_out"), settings.files, settings.layout)
        if read.work.gives != CONVERSATIONS:  # type: ignore[attr-defined]
            raise at(("held_out", "files"), "these are pairs: name them under `held_out.preferences:`")
        step = plan.add(StepName("held_out"), ChatSplit(side="held_out", share=1.0), {Role("rows", "held_out"): read})
        conversations = []
    elif conversations:
        inputs = {Role("rows", name): rows.set(name) for name in conversations}
        step = plan.add(StepName("held_out"), ChatSplit(side="held_out", share=share), inputs)
    rows.held_out_pairs = _held_out_pairs(plan, rows, pairs)
    if settings.files is None and not conversations:
        step = _chosen_answers(plan, rows)
    held_out: dict[str, Step] = {"held_out": step}
    if rows.held_out_pairs is not None:
        held_out[Role("held_out", *rows.held_out_pairs.name.names)] = rows.held_out_pairs
    for name, made in rows.sets.items():
        apart = not settings.files if rows.holds[name] == CONVERSATIONS else not settings.preferences
        split = ChatSplit(side="train", share=share if apart else 0.0, threshold=settings.threshold)
        inputs = {Role("rows", name): made, **held_out}
        rows.train_rows[name] = plan.add(StepName("train_rows", name), split, inputs)
    return step


def _to_hold_out(plan: Plan, rows: Generation) -> tuple[list[str], list[str]]:
    """Return the sets of conversations and those of pairs of which a share is held out."""
    settings, train = plan.recipe.held_out, plan.recipe.train
    assert settings is not None
    mixed = [part for weights in plan.recipe.mixes.values() for part in positive(weights)]
    used = [*mixed, *([train.preferences] if train is not None and train.preferences else [])]
    pairs = [name for name in used if rows.holds[name] == PREFERENCES]
    named = [name for name in settings.sets if rows.holds[name] == PREFERENCES]
    return [name for name in settings.sets if name not in named], list(dict.fromkeys([*named, *pairs]))


def _held_out_pairs(plan: Plan, rows: Generation, names: list[str]) -> Step | None:
    from windtunnel.pipelines.datasets.chat_split import ChatSplit

    settings = plan.recipe.held_out
    assert settings is not None
    if settings.preferences is not None:
        with placing("held_out", "preferences"):
            read = read_rows(plan, StepName("read", "held_out", "pairs"), settings.preferences)
        if read.work.gives != PREFERENCES:  # type: ignore[attr-defined]
            raise at(("held_out", "preferences"), "these are conversations, without a rejected answer")
        work, inputs = ChatSplit(side="held_out", share=1.0), {Role("rows", "pairs"): read}
    elif names:
        work = ChatSplit(side="held_out", share=settings.share)
        inputs = {Role("rows", name): rows.set(name) for name in names}
    else:
        return None
    return plan.add(StepName("held_out", names[0] if len(names) == 1 else "pairs"), work, inputs)


def _chosen_answers(plan: Plan, rows: Generation) -> Step:
    """Add the chosen answers of the held-out pairs as conversations: what a comparison of pairs alone measures on."""
    from windtunnel.pipelines.rows.chosen import ChosenAnswers

    if rows.held_out_pairs is None:
        raise at(("held_out",), "nothing is held out: name sets of rows in `held_out.from:`, or `files:`")
    return plan.add(StepName("held_out"), ChosenAnswers(), {Role("rows", "pairs"): rows.held_out_pairs})


def row_mixes(plan: Plan, rows: Generation, tokenizer: Step | None) -> dict[str, dict[str, Step]]:
    """Add the mixes of rows; return for each the steps that hold its `conversations` and its `preferences`."""
    from windtunnel.pipelines.datasets.mix_rows import MixRows

    options = plan.recipe.row_mixes
    if options.by == "tokens" and tokenizer is None:
        raise at(("row_mixes", "by"), "tokens are those of a model: give `train:` with one, or mix by bytes or rows")
    mixes: dict[str, dict[str, Step]] = {}
    for name, weights in plan.recipe.mixes.items():
        for holds, kind in ((CONVERSATIONS, "mix"), (PREFERENCES, "pairs")):
            shares = {part: float(w) for part, w in positive(weights).items() if rows.holds[part] == holds}
            if not shares:
                continue
            inputs: dict[str, Step] = {Role("rows", part): rows.train_rows[part] for part in shares}
            if options.by == "tokens" and tokenizer is not None:
                inputs["tokenizer"] = tokenizer
            work = MixRows(weights=shares, by=options.by, total=options.total, max_epochs=options.max_epochs)
            mixes.setdefault(name, {})[holds] = plan.add(StepName(kind, name), work, inputs)
    return mixes


def chat_inputs(plan: Plan, rows: Generation, held_out: Step, mix: Mapping[str, Step]) -> dict[str, Step]:
    """Return the inputs of a training run on rows, by role."""
    inputs: dict[str, Step] = {**mix, "held_out_conversations": held_out}
    train = plan.recipe.train
    if train is not None and train.preferences is not None:
        inputs[PREFERENCES] = rows.train_rows[train.preferences]
    if PREFERENCES in inputs and rows.held_out_pairs is not None:
        inputs["held_out_preferences"] = rows.held_out_pairs
    return inputs


def check_stages(plan: Plan, inputs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise RecipeError for a stage that learns from what a mix does not hold."""
    from windtunnel.trainer.objectives._objective import Objective

    assert plan.recipe.train is not None
    for number, spec in enumerate(plan.recipe.train.stages):
        needs = make(Objective, spec).kind
        for mix, reads in inputs.items():
            if needs not in reads:
                raise at(
                    ("train", "stages", number),
                    f"this stage learns from {needs}, and the mix {mix!r} holds none of them",
                )
