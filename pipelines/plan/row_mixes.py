"""The part of a plan that holds rows out, mixes the others, and hands them to training runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.generation import Generation
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.plan.row_sets import CONVERSATIONS, PREFERENCES, read_rows
from windtunnel.pipelines.recipe.check import at, placing
from windtunnel.pipelines.recipe.recipe import Recipe
from windtunnel.pipelines.recipe.weights import positive
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.role import Role, StepName


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
        inputs = {Role("rows", name): rows.sets[name] for name in conversations}
        step = plan.add(StepName("held_out"), ChatSplit(side="held_out", share=share), inputs)
    rows.held_out_pairs = _held_out_pairs(plan, rows, pairs)
    if settings.files is None and not conversations:
        step = _chosen_answers(plan, rows)
    held_out: dict[str, Step] = {"held_out": step}
    if rows.held_out_pairs is not None:
        held_out[Role("held_out", *rows.held_out_pairs.name.names)] = rows.held_out_pairs
    held_out |= _asked_elsewhere(plan, rows)
    for name, made in rows.sets.items():
        apart = not settings.files if rows.holds[name] == CONVERSATIONS else not settings.preferences
        split = ChatSplit(side="train", share=share if apart else 0.0, threshold=settings.threshold)
        inputs = {Role("rows", name): made, **held_out}
        rows.train_rows[name] = plan.add(StepName("train_rows", name), split, inputs)
    return step


def _asked_elsewhere(plan: Plan, rows: Generation) -> dict[str, Step]:
    """Add what else the models are asked: questions of tasks, and one's own for win rates; return the steps by role."""
    from windtunnel.pipelines.datasets.chat_split import ChatSplit
    from windtunnel.pipelines.rows.questions import TaskQuestions

    evaluate, steps = plan.recipe.evaluate, dict[str, Step]()
    if evaluate is not None and evaluate.tasks is not None:
        with placing("evaluate", "tasks"):
            try:
                work = TaskQuestions.of(list(evaluate.tasks.tasks))
            except InputError as error:
                raise RecipeError(str(error)) from error
        if work is not None:
            steps[Role("held_out", "tasks")] = plan.add(StepName("questions", "tasks"), work)
    if evaluate is not None and evaluate.win_rate is not None and evaluate.win_rate.files is not None:
        with placing("evaluate", "win_rate", "files"):
            read = read_rows(plan, StepName("read", "questions"), evaluate.win_rate.files)
        split = ChatSplit(side="held_out", share=1.0)
        rows.questions = plan.add(StepName("questions", "win_rate"), split, {Role("rows", "questions"): read})
        steps[Role("held_out", "questions")] = rows.questions
    return steps


def _to_hold_out(plan: Plan, rows: Generation) -> tuple[list[str], list[str]]:
    """Return the sets of conversations and those of pairs of which a share is held out.

    Pairs are those of the sets that the recipe names, or of all that are trained on where it names none.
    """
    settings, train = plan.recipe.held_out, plan.recipe.train
    assert settings is not None
    mixed = [part for name in plan.recipe.mixes for part in plan.recipe.parts(name)]
    used = [*mixed, *([train.preferences] if train is not None and train.preferences else [])]
    pairs = [name for name in used if rows.holds.get(name) == PREFERENCES]
    named = [name for name in settings.sets if rows.holds[name] == PREFERENCES]
    return [name for name in settings.sets if name not in named], list(dict.fromkeys(named or pairs))


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
        inputs = {Role("rows", name): rows.sets[name] for name in names}
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
    for name, weights in plan.recipe.weights.items():
        for holds, kind in ((CONVERSATIONS, "mix"), (PREFERENCES, "pairs")):
            shares = {part: float(w) for part, w in positive(weights).items() if rows.holds.get(part) == holds}
            if not shares:
                continue
            inputs: dict[str, Step] = {Role("rows", part): rows.train_rows[part] for part in shares}
            if options.by == "tokens" and tokenizer is not None:
                inputs["tokenizer"] = tokenizer
            work = MixRows(weights=shares, by=options.by, total=options.total, max_epochs=options.max_epochs)
            mixes.setdefault(name, {})[holds] = plan.add(StepName(kind, name), work, inputs)
    return mixes


def wanted_shares(recipe: Recipe, rows: Generation) -> dict[str, Any]:
    """Return the fields of a comparison about the shares that sets have in the mixes."""
    shares: dict[str, dict[str, dict[str, float]]] = {}
    for name, (mix, _) in recipe.trainings.items():
        for holds in (CONVERSATIONS, PREFERENCES):
            own = {part: float(w) for part, w in positive(recipe.weights[mix]).items() if rows.holds.get(part) == holds}
            if len(own) > 1:  # a set alone has the whole
                total = sum(own.values())
                shares.setdefault(name, {})[holds] = {part: weight / total for part, weight in own.items()}
    return {"shares": shares, "shares_by": recipe.row_mixes.by, "tolerance": recipe.row_mixes.tolerance}


def chat_inputs(
    plan: Plan, rows: Generation, held_out: Step, mix: Mapping[str, Step], texts: Mapping[str, Step] | None = None
) -> dict[str, Step]:
    """Return the inputs of a training run on rows, by role; `texts` are those of the corpora in the mix."""
    inputs: dict[str, Step] = {**(texts or {}), **mix, "held_out_conversations": held_out}
    train = plan.recipe.train
    if train is not None and train.preferences is not None:
        inputs[PREFERENCES] = rows.train_rows[train.preferences]
    if PREFERENCES in inputs and rows.held_out_pairs is not None:
        inputs["held_out_preferences"] = rows.held_out_pairs
    return inputs


def check_stages(plan: Plan, inputs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise RecipeError for a stage that learns from what a mix does not hold."""
    from windtunnel.trainer.objectives._objective import Objective

    train = plan.recipe.train
    kinds = {
        make(Objective, spec).kind for t in (train.each.values() if train is not None else ()) for spec in t.stages
    }
    for mix, reads in inputs.items():
        if train is not None and "mix" in reads and "tokens" not in kinds:
            raise at(
                ("mixes", mix),
                f"the mix {mix!r} takes documents beside rows, and no stage learns from them: put one that does, "
                "such as `causal_lm`, before the others, or leave the documents out",
            )
    for variant, settings in train.each.items() if train is not None else ():
        for number, spec in enumerate(settings.stages):
            kind = make(Objective, spec).kind
            role, needs = ("mix", "text") if kind == "tokens" else (kind, kind)
            mend = ": give it a weight for a corpus" if kind == "tokens" else ""
            for mix, reads in inputs.items():
                if train is not None and role not in reads:
                    raise at(
                        (*train.place(variant, "stages"), number),
                        f"this stage learns from {needs}, and the mix {mix!r} holds none{mend or ' of them'}",
                    )
