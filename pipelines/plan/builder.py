"""Turns a recipe into steps; pure: it reads no text, starts nothing and writes nothing.

The only looks outside are at the names, sizes and times of source files, and at whether there is a GPU where a recipe
leaves that open: both are part of a step's key.
"""

from __future__ import annotations

from collections.abc import Mapping

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.corpora import Texts
from windtunnel.pipelines.plan.evaluation import evaluation
from windtunnel.pipelines.plan.generation import Generation, chat_inputs, generation, held_out_rows, row_mixes
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.check import placing
from windtunnel.pipelines.recipe.file import placed
from windtunnel.pipelines.recipe.recipe import Recipe
from windtunnel.pipelines.recipe.shipped import load, locate
from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.models._model import Model


def planned(recipe_name: str, sets: list[str]) -> Plan:
    """Return the steps of a recipe file or a shipped recipe, with `--set` changes; a RecipeError names the line."""
    recipe = load(recipe_name, sets)
    try:
        with plugin_files.relative_to(locate(recipe_name).parent):
            return plan(recipe)
    except RecipeError as error:
        raise placed(locate(recipe_name), error) from error


def plan(recipe: Recipe) -> Plan:
    """Return the steps of a recipe: corpora, rows, held-out set, tokens, mixes, training runs, comparison, report."""
    made = Plan(recipe)
    texts = Texts(made)
    corpora = texts.all()
    rows = generation(made, corpora)
    if any(part in recipe.generate for weights in recipe.mixes.values() for part in weights):
        held_out = held_out_rows(made, rows)
        mixes = row_mixes(made, rows)
        reads = {name: chat_inputs(made, rows, held_out, mix) for name, mix in mixes.items()}
    else:
        held_out = texts.held_out()
        mixes = _mixes(made, corpora, held_out)
        reads = {name: {"mix": mix, **mix.inputs, "held_out": held_out} for name, mix in mixes.items() if held_out}
    runs = _runs(made, reads, rows)
    comparison = _compare(made, runs, held_out)
    more = evaluation(made, corpora, rows, runs, held_out) if held_out else []
    ends = [step for step in (comparison, *more) if step] or [*runs.values(), *mixes.values()]
    others = [*corpora.values(), *rows.sets.values()]  # those that no mix takes are made too
    made.targets = [*others, *ends, _report(made)]
    return made


def _mixes(made: Plan, corpora: Mapping[str, Step], held_out: Step | None) -> dict[str, Step]:
    recipe = made.recipe
    if not recipe.mixes or recipe.tokens is None:
        return {}
    from windtunnel.pipelines.datasets.mix import Mix
    from windtunnel.pipelines.datasets.tokens import Tokens

    used = {name for weights in recipe.mixes.values() for name, weight in weights.items() if weight > 0}
    tokenizer = _tokenizer(made, corpora, held_out)
    tokens: dict[str, Step] = {}

    def tokens_of(name: str) -> Step:
        if name not in tokens:
            inputs = {"corpus": _train_split(made, name, corpora, held_out), "tokenizer": tokenizer}
            if (parent := _parent_among(recipe, name, used)) is not None:
                inputs["known"] = tokens_of(parent)
            tokens[name] = made.add(f"tokens:{name}", Tokens(), inputs)
        return tokens[name]

    mixes = {}
    for name, weights in recipe.mixes.items():
        shares = {corpus: weight for corpus, weight in weights.items() if weight > 0}
        work = Mix(
            weights=shares,
            token_budget=recipe.tokens.budget,
            max_epochs=recipe.tokens.max_epochs,
            context=_context(recipe),
        )
        mixes[name] = made.add(f"mix:{name}", work, {f"tokens:{corpus}": tokens_of(corpus) for corpus in shares})
    return mixes


def _parent_among(recipe: Recipe, name: str, corpora: set[str]) -> str | None:
    """Return the nearest of `corpora` that a corpus is made from, where it is made from one at a time."""
    while len(parents := recipe.corpora[name].parents) == 1:
        (name,) = parents
        if name in corpora:
            return name
    return None


def _train_split(made: Plan, name: str, corpora: Mapping[str, Step], held_out: Step | None) -> Step:
    """The corpus without the held-out documents and what is near them: no mix sees what it is measured on."""
    if held_out is None:
        return corpora[name]
    label = f"train_split:{name}"
    known = next((step for step in made.steps if step.name == label), None)
    if known is not None:
        return known
    from windtunnel.pipelines.datasets.train_split import TrainSplit

    threshold = made.recipe.held_out.threshold if made.recipe.held_out else 0.72
    return made.add(label, TrainSplit(threshold=threshold), {"corpus": corpora[name], "held_out": held_out})


def _tokenizer(made: Plan, corpora: Mapping[str, Step], held_out: Step | None) -> Step:
    from windtunnel.pipelines.datasets.tokenizer import TrainTokenizer, from_directory

    assert made.recipe.tokens is not None
    wanted = made.recipe.tokens.tokenizer
    if wanted.path is not None:
        with placing("tokens", "tokenizer", "path"):
            return made.add("tokenizer", from_directory(wanted.path))
    corpus = _train_split(made, str(wanted.trained_on), corpora, held_out)
    return made.add("tokenizer", TrainTokenizer(vocabulary=int(wanted.bpe or 0), max_bytes=None), {"corpus": corpus})


def _context(recipe: Recipe) -> int:
    if recipe.train is None or recipe.train.model is None:
        return 256
    return make(Model, recipe.train.model).context


def _runs(made: Plan, reads: Mapping[str, Mapping[str, Step]], rows: Generation) -> dict[tuple[str, int], Step]:
    wanted = made.recipe.train
    if wanted is None or made.recipe.held_out is None:
        return {}
    from windtunnel.trainer.loop.run import TrainRun

    common: dict[str, Step] = {}
    if wanted.start is not None:
        common["start"] = rows.models[wanted.start]
    elif any(step.name == "tokenizer" for step in made.steps):
        common["tokenizer"] = made.find("tokenizer")
    runs, device = {}, made.device()
    for seed in wanted.seeds:
        for name, inputs in reads.items():
            work = TrainRun(
                mix=name,
                seed=seed,
                model=wanted.model or {"pretrained": {"context": wanted.context}},
                schedule=wanted.schedule,
                stages=tuple(wanted.stages),
                threads=wanted.threads,
                device=device,
            )
            runs[name, seed] = made.add(f"train:{name}:{seed}", work, {**inputs, **common})
    return runs


def _compare(made: Plan, runs: Mapping[tuple[str, int], Step], held_out: Step | None) -> Step | None:
    wanted = made.recipe.compare
    if wanted is None or held_out is None:
        return None
    from windtunnel.trainer.stats.compare import Compare

    inputs = {f"run:{mix}:{seed}": step for (mix, seed), step in runs.items()}
    fields = wanted.model_dump(exclude={"on"})
    return made.add("compare", Compare(**fields), {**inputs, "held_out": held_out})


def _report(made: Plan) -> Step:
    from windtunnel.pipelines.report.step import Report

    recipe = made.recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    return made.add("report", Report(recipe=recipe), {step.name: step for step in made.steps})
