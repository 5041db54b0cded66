"""Turns a recipe into steps. Reads no text, starts nothing and writes nothing.

Outside the recipe it looks at names, sizes and times of source files, and at whether there is a GPU where the recipe
says `device: auto`; both are part of the steps' keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.corpora import Texts
from windtunnel.pipelines.plan.evaluation import Runs, comparison, evaluation, side_by_side
from windtunnel.pipelines.plan.first_stages import FirstStages
from windtunnel.pipelines.plan.generation import Generation
from windtunnel.pipelines.plan.orders import check_order
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.plan.row_mixes import chat_inputs, check_stages, held_out_rows, row_mixes, wanted_shares
from windtunnel.pipelines.plan.row_sets import row_sets
from windtunnel.pipelines.plan.template_check import train_template
from windtunnel.pipelines.recipe.check import at, placing
from windtunnel.pipelines.recipe.file import placed
from windtunnel.pipelines.recipe.mixes import MixPlan, resolved
from windtunnel.pipelines.recipe.recipe import Recipe, Train
from windtunnel.pipelines.recipe.shipped import load, locate
from windtunnel.pipelines.recipe.weights import positive
from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import RecipeError, nearest
from windtunnel.schemas.plugin import make
from windtunnel.schemas.role import Role, StepName
from windtunnel.trainer.models._model import Model

if TYPE_CHECKING:
    from windtunnel.pipelines.datasets.planned_mix import PlannedMix
POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx")  # in config.json, by architecture


def planned(recipe_name: str, sets: list[str], divided: bool = True) -> Plan:
    """Return the plan of a recipe file or a shipped recipe with `--set` changes; a RecipeError names the line.

    `divided`: first stages of variants are steps of their own (windtunnel.pipelines.plan.first_stages).
    """
    recipe = load(recipe_name, sets)
    with placed_errors(recipe_name), plugin_files.relative_to(locate(recipe_name).parent):
        return plan(recipe, divided)


@contextmanager
def placed_errors(recipe_name: str) -> Iterator[None]:
    """Give a RecipeError that is raised in the block the recipe's file and line."""
    try:
        yield
    except RecipeError as error:
        raise placed(locate(recipe_name), error) from error


def plan(recipe: Recipe, divided: bool = True) -> Plan:
    """Return the steps of a recipe: corpora, rows, held-out set, tokens, mixes, training runs, comparison, report."""
    result = Plan(recipe)
    texts = Texts(result)
    corpora = texts.all()
    rows = row_sets(result, corpora)
    if recipe.of_rows and recipe.held_out is not None:
        held_out = held_out_rows(result, rows)
        of_rows = row_mixes(result, rows, _tokenizer_of_rows(result, corpora, rows))
        of_text = _mixes(result, corpora, None, rows)  # what earlier stages read
        mixes = {f"{name}:{holds}": step for name, mix in of_rows.items() for holds, step in mix.items()} | of_text
        texts_of = {name: {"mix": mix, **_tokens(mix)} for name, mix in of_text.items()}
        inputs = {name: chat_inputs(result, rows, held_out, mix, texts_of.get(name)) for name, mix in of_rows.items()}
        check_stages(result, inputs)
    else:
        held_out = texts.held_out()
        mixes = _mixes(result, corpora, held_out, rows)
        inputs = {name: {"mix": mix, **_tokens(mix), "held_out": held_out} for name, mix in mixes.items() if held_out}
    runs = _runs(result, inputs, rows, divided)
    ends: list[Step] = []
    if held_out is not None and recipe.compare is not None:
        fields = recipe.compare.model_dump(exclude={"on", "pin"}) | {"pinned": recipe.compare.pinned(recipe.mixes)}
        if recipe.of_rows:
            fields |= wanted_shares(recipe, rows)
        ends.append(comparison(result, StepName("compare"), runs, {"held_out": held_out}, **fields))
        ends += evaluation(result, corpora, rows, runs, held_out)
        if recipe.train is not None and recipe.train.variants:
            ends.append(side_by_side(result, runs))
    unused = [*corpora.values(), *rows.sets.values()]  # made even where no mix takes them
    result.targets = [*unused, *(ends or [*runs.values(), *mixes.values()]), _report(result)]
    return result


def _mixes(plan: Plan, corpora: Mapping[str, Step], held_out: Step | None, rows: Generation) -> dict[str, Step]:
    recipe = plan.recipe
    if not recipe.mixes or recipe.tokens is None:
        return {}
    from windtunnel.pipelines.datasets.mix import Mix
    from windtunnel.pipelines.datasets.pinned_mix import PinnedMix
    from windtunnel.pipelines.datasets.planned_mix import OF_TOKENS
    from windtunnel.pipelines.datasets.tokenizer import TokenizerOfModel
    from windtunnel.pipelines.datasets.tokens import Tokens

    used = {part for name in recipe.mixes for part in recipe.corpora_of(name)}
    if not used:
        return {}
    if (start := _start(recipe)) is not None:
        model = {"model": rows.models[start]}
        tokenizer = plan.add(StepName("tokenizer"), TokenizerOfModel(), model)
    else:
        tokenizer = plan.find("tokenizer") or _tokenizer(plan, corpora, held_out)
    tokens: dict[str, Step] = {}

    def tokens_of(name: str) -> Step:
        if name not in tokens:
            inputs = {"corpus": _train_split(plan, name, corpora, held_out), "tokenizer": tokenizer}
            if (parent := _parent_among(recipe, name, used)) is not None:
                inputs["known"] = tokens_of(parent)
            tokens[name] = plan.add(StepName("tokens", name), Tokens(), inputs)
        return tokens[name]

    sizes = {
        "token_budget": recipe.tokens.budget,
        "max_epochs": recipe.tokens.max_epochs,
        "context": _context(recipe),
    }

    def inputs_of(name: str, role: str = "tokens") -> dict[str, Step]:
        return {Role(role, part): tokens_of(part) for part in recipe.corpora_of(name)}

    mixes, kind = {}, "text_mix" if recipe.of_rows else "mix"
    for name, mix in recipe.mixes.items():
        if not (inputs := inputs_of(name)):
            continue  # a mix of rows alone
        if isinstance(mix, MixPlan):
            work = _planned_mix(recipe, mix, sizes)
            if work.order is not None and work.order.by not in OF_TOKENS:
                for part in recipe.parts(name):
                    check_order(work.order.by, corpora[part], ("mixes", name, "order", "by"))
                    inputs[Role("corpus", part)] = corpora[part]
        else:
            weights = positive(mix)
            work = Mix(weights={part: weights[part] for part in recipe.corpora_of(name)}, **sizes)
        mixes[name] = plan.add(StepName(kind, name), work, inputs)
    if recipe.compare is not None and recipe.compare.pin is not None:
        own = positive(recipe.weights[recipe.compare.baseline])
        for name, extra in recipe.compare.pinned(recipe.mixes).items():
            work = PinnedMix(weights=own, like=positive(recipe.weights[name]), **sizes)
            inputs = {**inputs_of(recipe.compare.baseline), **inputs_of(name, "like")}
            mixes[extra] = plan.add(StepName("mix", extra), work, inputs)
    return mixes


def _planned_mix(recipe: Recipe, mix: MixPlan, sizes: Mapping[str, Any]) -> PlannedMix:
    from windtunnel.pipelines.datasets.planned_mix import OrderOfMix, PhaseOfMix, PlannedMix

    if mix.phases is None:
        (weights, alpha) = resolved(mix, recipe.mixes)
        phases = (PhaseOfMix(weights=weights, alpha=alpha),)
    else:
        found = [(phase, *resolved(phase.mix, recipe.mixes)) for phase in mix.phases]
        phases = tuple(
            PhaseOfMix(weights=weights, alpha=alpha, until=phase.until or 1.0, ramp=phase.ramp)
            for phase, weights, alpha in found
        )
    order = OrderOfMix(**mix.order.model_dump()) if mix.order is not None else None
    return PlannedMix(phases=phases, order=order, **sizes)


def _tokens(mix: Step) -> dict[str, Step]:
    """Return the tokens that a run on a mix reads."""
    return {role: step for role, step in mix.inputs.items() if Role.parse(role).kind == "tokens"}


def _parent_among(recipe: Recipe, name: str, corpora: set[str]) -> str | None:
    """Return the nearest of `corpora` that a corpus is made from, where it is made from one at a time."""
    while len(parents := recipe.corpora[name].parents) == 1:
        (name,) = parents
        if name in corpora:
            return name
    return None


def _train_split(plan: Plan, name: str, corpora: Mapping[str, Step], held_out: Step | None) -> Step:
    """Return the corpus without the held-out documents and their near-duplicates."""
    if held_out is None:
        return corpora[name]
    from windtunnel.pipelines.datasets.train_split import TrainSplit

    step_name = StepName("train_split", name)
    threshold = plan.recipe.held_out.threshold if plan.recipe.held_out else 0.72
    inputs = {"corpus": corpora[name], "held_out": held_out}
    return plan.find(step_name) or plan.add(step_name, TrainSplit(threshold=threshold), inputs)


def _tokenizer(plan: Plan, corpora: Mapping[str, Step], held_out: Step | None) -> Step:
    from windtunnel.pipelines.datasets.tokenizer import TrainTokenizer, from_directory

    assert plan.recipe.tokens is not None and plan.recipe.tokens.tokenizer is not None
    settings, name = plan.recipe.tokens.tokenizer, StepName("tokenizer")
    if settings.path is not None:
        with placing("tokens", "tokenizer", "path"):
            return plan.add(name, from_directory(settings.path))
    corpus = _train_split(plan, str(settings.trained_on), corpora, held_out)
    return plan.add(name, TrainTokenizer(vocabulary=int(settings.bpe or 0), max_bytes=None), {"corpus": corpus})


def _tokenizer_of_rows(plan: Plan, corpora: Mapping[str, Step], rows: Generation) -> Step | None:
    """Return the step that holds the tokenizer of models that learn from rows; None where none is trained."""
    tokens, settings = plan.recipe.tokens, [train for _, train in plan.recipe.trainings.values()]
    starts = {train.start for train in settings}
    if None not in starts:
        (start,) = starts if len(starts) == 1 else (None,)
        return rows.models[start] if start is not None else None
    if tokens is None or tokens.tokenizer is None:
        return None
    name = tokens.tokenizer.trained_on
    if name not in rows.train_rows:
        return _tokenizer(plan, corpora, None)
    from windtunnel.pipelines.datasets.tokenizer import TrainTokenizer
    from windtunnel.pipelines.rows.texts import RowTexts

    texts = plan.add(StepName("texts", "tokenizer"), RowTexts(on="conversation"), {"rows": rows.train_rows[name]})
    work = TrainTokenizer(vocabulary=int(tokens.tokenizer.bpe or 0), max_bytes=None)
    return plan.add(StepName("tokenizer"), work, {"corpus": texts})


def _start(recipe: Recipe) -> str | None:
    """Return the model that training on documents starts from, which is that of all variants."""
    return next((train.start for _, train in recipe.trainings.values()), None)


def _context(recipe: Recipe) -> int:
    """Return the context that mixes are laid down for: that of the first variant, which others may come after."""
    train = next((train for _, train in recipe.trainings.values()), None)
    if train is None:
        return 256
    if train.model is None:
        return train.context
    return make(Model, train.model).context


def _runs(plan: Plan, inputs: Mapping[str, Mapping[str, Step]], rows: Generation, divided: bool) -> Runs:
    """Add a training run for every training and seed; `inputs` are those of each mix, by role."""
    train = plan.recipe.train
    if train is None or plan.recipe.held_out is None:
        return {}
    from windtunnel.trainer.loop.run import TrainRun

    extra = {name: (name, train) for name in inputs if name not in plan.recipe.mixes}  # of `pin:`, without variants
    trainings = {name: each for name, each in plan.recipe.trainings.items() if each[0] in inputs} | extra
    templates = {}
    for variant, settings in train.each.items():
        _check_context(plan, variant, settings)
        templates[id(settings)] = train_template(plan, variant, settings)
    runs, tokenizer = {}, plan.find("tokenizer")
    first_stages = FirstStages(plan) if train.variants and divided else None
    for seed in train.seeds:
        for name, (mix, settings) in trainings.items():
            common = {"start": rows.models[settings.start]} if settings.start is not None else {}
            if tokenizer is not None and (settings.start is None or not plan.recipe.of_rows):
                common = {"tokenizer": tokenizer} | common
            work = TrainRun(
                mix=name,
                seed=seed,
                model=settings.model or {"pretrained": {"context": settings.context}},
                schedule=settings.schedule,
                stages=tuple(settings.stages),
                template=templates[id(settings)],
                **plan.compute(settings),
            )
            given = {**inputs[mix], **common, **_further_models(settings, rows)}
            if first_stages is not None:
                work, given = first_stages.divided(mix, work, given)
            runs[name, seed] = plan.add(StepName("train", name, seed), work, given)
    return runs


def _further_models(settings: Train, rows: Generation) -> dict[str, Step]:
    """Return the models that the objectives of a training read beside the one they train, by role."""
    from windtunnel.trainer.objectives._objective import Objective

    named = dict.fromkeys(name for spec in settings.stages for name in make(Objective, spec).models())
    if unknown := next((name for name in named if name not in rows.models), None):
        raise at(("train", "stages"), f"no model of `models:` is called {unknown!r}: {nearest(unknown, rows.models)}")
    return {Role("model", name): rows.models[name] for name in named}


def _check_context(plan: Plan, variant: str, settings: Train) -> None:
    """Raise RecipeError if the recipe asks for more positions than the model to start from has, where that is known."""
    if settings.start is None:
        return
    directory = plan.recipe.models[settings.start].path
    if directory is None or "context" not in settings.model_fields_set:
        return
    config = json.loads(Path(directory, "config.json").read_text(encoding="utf-8"))
    positions = next((config[name] for name in POSITIONS if isinstance(config.get(name), int)), None)
    if positions is not None and settings.context > positions:
        assert plan.recipe.train is not None
        raise at(
            plan.recipe.train.place(variant, "context"),
            f"the model {settings.start!r} has {positions:,} positions, and `context` is {settings.context:,}: lower "
            "it, or leave it out",
        )


def _report(plan: Plan) -> Step:
    from windtunnel.pipelines.report.step import Report

    recipe = plan.recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    return plan.add(StepName("report"), Report(recipe=recipe), {step.name: step for step in plan.steps})
