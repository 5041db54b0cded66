"""Checks a recipe across its parts: every name refers to something, every plug-in exists and takes its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from windtunnel.pipelines.recipe.check_mixes import check_mixes, check_tokenizer
from windtunnel.pipelines.recipe.check_stages import check_stages
from windtunnel.pipelines.recipe.decontamination import HELD_OUT, DecontaminationSettings
from windtunnel.pipelines.recipe.place import at as at
from windtunnel.pipelines.recipe.place import known, made
from windtunnel.pipelines.recipe.place import placing as placing
from windtunnel.pipelines.recipe.recipe import Corpus, Name, Recipe, Spec, Tasks, Train
from windtunnel.pipelines.recipe.rows import Rows
from windtunnel.pipelines.recipe.variants import SHARED
from windtunnel.pipelines.recipe.where import parse
from windtunnel.pipelines.recipe.yaml_loader import Keys
from windtunnel.schemas.errors import InputError, nearest


def check(recipe: Recipe) -> None:
    """Raise RecipeError for a name that refers to nothing, and for a plug-in or a parameter that does not exist.

    The error's `path` holds the keys that lead to the place, so that the reader can name the line.
    """
    for name, corpus in recipe.corpora.items():
        here = ("corpora", name)
        for parent in corpus.parents:
            known(parent, recipe.corpora, "corpus", (*here, "from"))
        _specs(corpus, here)
    _acyclic(recipe)
    _sets(recipe)
    check_mixes(recipe)
    check_tokenizer(recipe)
    _training(recipe)
    _held_out(recipe)
    _evaluation(recipe)
    _budget(recipe)


def _budget(recipe: Recipe) -> None:
    for name, model in recipe.models.items():
        if recipe.budget is not None and model.url is not None and "price" not in model.model_fields_set:
            needed = "`price: [PROMPT, COMPLETION]` in dollars per million tokens ([0, 0] where it is free)"
            raise at(("models", name), f"`budget:` needs the price of every model at a `url:`: {needed}")


def _specs(corpus: Corpus, here: Keys) -> None:
    if corpus.source is not None:
        made("source", corpus.source, (*here, "source"))
    for i, rule in enumerate(corpus.rules):
        made("rule", rule, (*here, "rules", i))
    for method in corpus.methods:
        made("dedup", method, (*here, "dedup"))
    _decontamination(*corpus.decontamination, (*here, "decontaminate"))


def _decontamination(parameters: dict[str, Any], sets: dict[str, Spec], here: Keys) -> None:
    fields = DecontaminationSettings.model_fields
    for key in parameters:
        if key not in fields:
            known = ["against", *fields]
            raise at((*here, key), f"decontaminate has no parameter {key!r}: {nearest(str(key), known)}")
    try:
        DecontaminationSettings(**parameters)
    except ValidationError as error:
        first = error.errors()[0]
        raise at((*here, *first["loc"]), f"decontaminate, parameter {first['loc'][0]!r}: {first['msg']}") from error
    if not isinstance(sets, dict):
        raise at((*here, "against"), "`against:` names evaluation sets and their sources: {NAME: {jsonl: FILE}, ...}")
    for name, source in sets.items():
        try:
            TypeAdapter(Name).validate_python(name)  # becomes part of a directory's name
        except ValidationError as error:
            raise at((*here, "against", name), error.errors()[0]["msg"].removeprefix("Value error, ")) from error
        if name == HELD_OUT:
            raise at(
                (*here, "against", name), "the recipe's held-out set has that name: call this evaluation otherwise"
            )
        made("source", source, (*here, "against", name))


def _acyclic(recipe: Recipe) -> None:
    for name in recipe.corpora:
        if name in recipe.ancestors(name):
            raise at(("corpora", name, "from"), f"corpus {name!r} is made from itself")


def _sets(recipe: Recipe) -> None:
    """Check the sets of rows, generated or read: names, parts, and that none is made from itself."""
    for kind, others in (("rows", recipe.corpora), ("generate", {**recipe.corpora, **recipe.rows})):
        if both := set(others) & set(getattr(recipe, kind)):
            raise at((kind, min(both)), f"{min(both)!r} names other data already: give these rows another name")
    for name, rows in recipe.rows.items():
        _rows(recipe, name, rows)
    for name, generated in recipe.generate.items():
        here: Keys = ("generate", name)
        generator: Any = made("generator", generated.with_, (*here, "with"))
        for model in generator.models():
            known(model, recipe.models, "model", (*here, "with"))
        for role, sources in generated.from_.items():
            for source in [sources] if isinstance(sources, str) else sources:
                known(source, {*recipe.corpora, *recipe.sets}, "corpus, nor set of rows,", (*here, "from", role))
    _sets_acyclic(recipe)


def _rows(recipe: Recipe, name: str, rows: Rows) -> None:
    here: Keys = ("rows", name)
    for parent in rows.parents:
        if parent in recipe.corpora:
            raise at((*here, "from"), f"{parent!r} is a corpus of documents: rows are made from it by `generate:`")
        known(parent, recipe.sets, "set of rows", (*here, "from"))
    if rows.source is not None:
        made("source", rows.source, (*here, "source"))
    if rows.layout is not None:
        made("layout", rows.layout, (*here, "layout"))
    for word, spec in (("clean", rows.clean), ("select", rows.select)):
        if spec is not None:
            generator: Any = made("generator", spec, (*here, word))
            if generator.models() or tuple(generator.reads) != ("conversations",):
                raise at(
                    (*here, word),
                    f"`{word}:` takes a generator that reads `conversations` and asks no model, such as sharegpt or "
                    "lima; others stand under `generate:`",
                )
    for i, rule in enumerate(rows.rules):
        made("rule", rule, (*here, "rules", i))
    for method in rows.methods:
        if getattr(made("dedup", method, (*here, "dedup")), "edits", False):
            raise at((*here, "dedup"), "this method cuts text out, and rows stay or go whole: take exact or minhash")
    parameters, against = rows.decontamination
    if rows.decontaminate is not None and not against:
        raise at(
            (*here, "decontaminate"),
            "name the evaluation sets: `decontaminate: {against: {NAME: {jsonl: {path: FILE, text: COLUMN}}}}` (what "
            "is held out is kept out of training anyway)",
        )
    if parameters.get("action") == "cut":
        raise at((*here, "decontaminate", "action"), "rows stay or go whole: `cut` is for documents")
    _decontamination(parameters, against, (*here, "decontaminate"))


def _sets_acyclic(recipe: Recipe) -> None:
    parents: dict[str, list[str]] = {name: rows.parents for name, rows in recipe.rows.items()}
    for name, generated in recipe.generate.items():
        sources = ([each] if isinstance(each, str) else each for each in generated.from_.values())
        parents[name] = [source for each in sources for source in each]
    done: set[str] = set()

    def visit(name: str, below: tuple[str, ...]) -> None:
        if name in below:
            kind = "rows" if name in recipe.rows else "generate"
            raise at((kind, name, "from"), f"the set {name!r} is made from itself")
        if name not in done:
            for parent in parents.get(name, ()):
                visit(parent, (*below, name))
            done.add(name)

    for name in parents:
        visit(name, ())


def _training(recipe: Recipe) -> None:
    train = recipe.train
    if train is not None:
        _variants(recipe, train)
        for variant, settings in train.each.items():
            _one_training(recipe, settings, lambda word, variant=variant: train.place(variant, word))
        if train.preferences is not None:
            known(train.preferences, recipe.sets, "set of rows", ("train", "preferences"))
        if not recipe.mixes:
            raise at(("train",), "`train:` needs `mixes:` to train on")
        if recipe.held_out is None:
            raise at(("train",), "`train:` needs `held_out:`: what the models are measured on is part of the question")
    if recipe.compare is not None:
        if train is None:
            raise at(("compare",), "`compare:` needs `train:`")
        known(recipe.compare.baseline, recipe.trainings, "run" if train.variants else "mix", ("compare", "baseline"))
        if recipe.compare.pin is not None and train.variants:
            raise at(("compare", "pin"), "`pin: source` is for one training of every mix, and `train:` has variants")
        if recipe.compare.pin is not None and recipe.of_rows:
            raise at(("compare", "pin"), "`pin: source` is for mixes of corpora, not of rows")
        if recipe.compare.pin is not None and (planned := recipe.mixes.keys() - recipe.weights.keys()):
            raise at(("compare", "pin"), f"`pin: source` is for mixes that are weights alone: {min(planned)!r} is not")
        looks, seeds = recipe.compare.looks, len(train.seeds)
        if looks and seeds > looks[-1]:  # all of the error is spent at the last look, and training takes hours
            raise at(
                ("compare", "looks"),
                f"the looks end at {looks[-1]} seeds and there are {seeds}: declare one at {seeds} too, for example "
                f"{[*looks, seeds]}",
            )
        if recipe.compare.after and recipe.compare.after[-1] >= seeds:
            raise at(("compare", "after"), f"names looks with fewer seeds than now, and there are {seeds}")


def _variants(recipe: Recipe, train: Train) -> None:
    """Raise RecipeError for variants that cannot be told apart by name, or have what all must share."""
    if "variants" in train.model_fields_set and not train.variants:
        raise at(
            ("train", "variants"), "no variant is named: `variants: {gpt: {model: ..., stages: [...]}, bert: {...}}`"
        )
    for name, settings in train.variants.items():
        here: Keys = ("train", "variants", name)
        if name in recipe.mixes:
            raise at(here, f"{name!r} is a mix already, and runs are named by both: call the variant otherwise")
        if settings.variants:
            raise at((*here, "variants"), "a variant has no variants")
        for word in SHARED:
            if getattr(settings, word) != getattr(train, word):
                raise at((*here, word), f"`{word}:` is that of all variants: give it under `train:`")
    starts = {settings.start for settings in train.each.values()}
    if len(starts) > 1 and recipe.mixes and not recipe.of_rows:
        raise at(
            ("train", "variants"),
            "documents are cut into tokens once for all variants: let all start from the same model, or none",
        )


def _one_training(recipe: Recipe, settings: Train, place: Callable[[str], Keys]) -> None:
    if settings.model is not None:
        made("model", settings.model, place("model"))
        if recipe.of_rows and recipe.tokens is None:
            raise at(place("model"), "a new model needs `tokens: {tokenizer: ...}`, or start from one of `models:`")
    if settings.start is not None:
        known(settings.start, recipe.models, "model", place("start"))
        if recipe.models[settings.start].url is not None:
            raise at(
                place("start"),
                f"model {settings.start!r} is at a URL: training starts from files, `sample:` or `path:`",
            )
    made("schedule", settings.schedule, place("schedule"))
    _watching(settings, place)
    check_stages(recipe, settings, place("stages"), place("model"))


def _watching(train: Train, place: Callable[[str], Keys]) -> None:
    """Raise RecipeError for a logger whose package is missing, and for models that no process holds whole."""
    if train.log is not None:
        logger: Any = made("logger", train.log, place("log"))
        with placing(*place("log")):
            logger.check_installed()
    if train.launch is not None and train.launch.shard == "fsdp":
        for name in ("watch", "keep", "gradient_noise"):
            if getattr(train, name):
                raise at(place(name), f"`{name}` needs all weights in one process: use `launch: {{shard: ddp}}`")


def _held_out(recipe: Recipe) -> None:
    held_out = recipe.held_out
    if held_out is None:
        return
    if held_out.files is not None:
        if HELD_OUT in recipe.corpora:  # both would be read by one step
            raise at(
                ("corpora", HELD_OUT), f"{HELD_OUT!r} is the corpus of `held_out: files`: give this one another name"
            )
        made("source", held_out.files, ("held_out", "files"))
        for word, kind in (("layout", "layout"), ("preferences", "source")):
            if (spec := getattr(held_out, word)) is not None:
                made(kind, spec, ("held_out", word))
                if not recipe.of_rows:
                    raise at(("held_out", word), f"`{word}:` is for mixes of rows, and these are of documents")
    if held_out.where is not None:
        try:
            parse(held_out.where)
        except ValueError as error:
            raise at(("held_out", "where"), str(error)) from None
    for name in held_out.sets:
        known(name, {*recipe.corpora, *recipe.sets}, "corpus or set of rows", ("held_out", "from"))
    kinds = {name in recipe.sets for name in held_out.sets}
    if len(kinds) > 1 or (kinds == {False} and len(held_out.sets) > 1):
        both = f"`corpora: {{all: {{from: [{', '.join(held_out.sets)}]}}}}`"
        mend = "" if True in kinds else f": declare one of them all, {both}, and hold out from that"
        raise at(("held_out", "from"), f"the held-out set comes from one corpus, or from sets of rows{mend}")
    if kinds and recipe.mixes and kinds != {recipe.of_rows}:
        what = ("rows", "documents") if recipe.of_rows else ("documents", "rows")
        raise at(("held_out", "from"), f"the mixes are of {what[0]}, and what is held out is {what[1]}")
    if recipe.of_rows and (held_out.where is not None or held_out.documents is not None):
        raise at(("held_out",), "`where:` and `documents:` choose among documents; rows are held out by `share:`")


def _evaluation(recipe: Recipe) -> None:
    evaluate = recipe.evaluate
    if evaluate is None:
        return
    asked = (evaluate.tasks, evaluate.answers, evaluate.win_rate, evaluate.probe, evaluate.labels)
    if recipe.compare is None and any(part is not None for part in asked):
        raise at(("evaluate",), "`evaluate:` needs `compare:`: its scores are effects too")
    if evaluate.tasks is not None:
        _tasks(evaluate.tasks, recipe)
    if evaluate.answers is not None and not recipe.of_rows:
        raise at(("evaluate", "answers"), "`answers:` are those of held-out rows, and these mixes are of documents")
    if evaluate.win_rate is not None:
        known(evaluate.win_rate.judge, recipe.models, "model", ("evaluate", "win_rate", "judge"))
        if evaluate.win_rate.files is not None:
            made("source", evaluate.win_rate.files, ("evaluate", "win_rate", "files"))
    if evaluate.probe is not None:
        for word in ("sources", "senses"):
            if (corpus := getattr(evaluate.probe, word)) is not None:
                known(corpus, recipe.corpora, "corpus", ("evaluate", "probe", word))
    if evaluate.labels is not None and not recipe.of_rows:
        raise at(
            ("evaluate", "labels"), "labels are those of rows, and the mixes are of documents: name `rows:` in them"
        )
    if evaluate.calibrate is not None:
        known(evaluate.calibrate.judge, recipe.models, "model", ("evaluate", "calibrate", "judge"))


def _tasks(settings: Tasks, recipe: Recipe) -> None:
    here: Keys = ("evaluate", "tasks")
    if settings.from_ is not None:
        known(settings.from_, recipe.corpora, "corpus", (*here, "from"))
    titles: set[str] = set()
    for i, spec in enumerate(settings.tasks):
        task: Any = made("task", spec, (*here, "tasks", i))
        if task.needs_documents and settings.from_ is None:
            raise at((*here, "tasks", i), f"{task.title!r} is made from documents: name a corpus, `from: CORPUS`")
        try:
            title = task.title
        except InputError as error:
            raise at((*here, "tasks", i), str(error)) from error
        if title in titles:
            raise at((*here, "tasks", i), f"two tasks are called {title!r}: give one of them another `name:`")
        titles.add(title)
