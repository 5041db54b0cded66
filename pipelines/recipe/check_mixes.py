"""Checks of what a recipe says of its mixes and their tokenizer."""

from __future__ import annotations

from pathlib import Path

from windtunnel.pipelines.recipe.mixes import MixPlan, Weights
from windtunnel.pipelines.recipe.place import at, known
from windtunnel.pipelines.recipe.recipe import Recipe
from windtunnel.pipelines.recipe.weights import BY_SIZE, positive
from windtunnel.pipelines.recipe.yaml_loader import Keys

MOST_MIXES = 10_000


def check_mixes(recipe: Recipe) -> None:
    """Check the names, shares and phases of every mix. Raises RecipeError with the place."""
    if len(recipe.mixes) > MOST_MIXES:  # every one is several steps and a model to train
        raise at(("mixes",), f"{len(recipe.mixes):,} mixes are more than the {MOST_MIXES:,} that one recipe may have")
    for name, mix in recipe.mixes.items():
        here: Keys = ("mixes", name)
        if isinstance(mix, MixPlan):
            _mix_plan(recipe, name, mix)
        else:
            _weights(recipe, name, mix, here)
        of_corpora = bool(recipe.corpora_of(name))
        if of_corpora and recipe.tokens is None:
            raise at(here, "a mix of corpora needs a `tokens:` part: a tokenizer and a budget")
        if of_corpora and recipe.tokens is not None and recipe.tokens.budget is None:
            raise at(("tokens",), "a mix of corpora needs `budget:`, the tokens that every mix trains on")
    tokenizer = recipe.tokens.tokenizer if recipe.tokens is not None else None
    if tokenizer is not None and (name := tokenizer.trained_on) is not None:
        there = {*recipe.corpora, *(recipe.sets if recipe.of_rows else ())}
        known(name, there, "corpus or set of rows", ("tokens", "tokenizer", "trained_on"))


def _weights(recipe: Recipe, name: str, weights: Weights, here: Keys) -> None:
    for part in weights:
        kind = "corpus or set of rows" if recipe.sets else "corpus"
        known(part, {*recipe.corpora, *recipe.sets}, kind, (*here, part))
    used = list(positive(weights))
    if not used:
        raise at(here, f"mix {name!r} needs at least one weight above zero")
    by_size = [part for part in used if weights[part] == BY_SIZE]
    if by_size and len(by_size) < len(recipe.corpora_of(name)):
        raise at(here, f"mix {name!r} has {BY_SIZE!r} beside numbers: give all numbers, or all {BY_SIZE!r}")
    if any(part in recipe.sets for part in by_size):
        raise at(here, f"mix {name!r} takes rows, whose weights are numbers, not {BY_SIZE!r}")


def _mix_plan(recipe: Recipe, name: str, mix: MixPlan) -> None:
    here: Keys = ("mixes", name)
    for i, phase in enumerate(mix.phases or ()):
        place = (*here, "phases", i, "mix")
        if isinstance(phase.mix, str):
            known(phase.mix, recipe.mixes, "mix", place)
            named = recipe.mixes[phase.mix]
            if isinstance(named, MixPlan) and (named.phases or named.order):
                what = "phases" if named.phases else "an order"
                raise at(place, f"mix {phase.mix!r} has {what} itself, and phases take shares alone: give it weights")
            if not isinstance(named, MixPlan):
                _weights(recipe, phase.mix, named, ("mixes", phase.mix))
        else:
            _weights(recipe, name, phase.mix, place)
    if mix.weights is not None:
        _weights(recipe, name, mix.weights, (*here, "weights"))
    for part in mix.over or ():
        known(part, {*recipe.corpora, *recipe.sets}, "corpus", (*here, "over"))
    if any(part in recipe.sets for part in recipe.parts(name)):
        raise at(here, f"mix {name!r} takes rows: phases, an order and `alpha:` are for mixes of corpora")


def check_tokenizer(recipe: Recipe) -> None:
    """Check that there is one tokenizer: that of the model to start from, or one of the recipe."""
    starts = [settings.start for settings in recipe.train.each.values()] if recipe.train is not None else [None]
    start = next((name for name in starts if name is not None), None)
    if recipe.tokens is None:
        return
    tokenizer, here = recipe.tokens.tokenizer, ("tokens", "tokenizer")
    if tokenizer is None and None in starts:
        raise at(("tokens",), "name a tokenizer: `tokenizer: {bpe: SIZE, trained_on: CORPUS}` or `{path: DIRECTORY}`")
    if tokenizer is None or start is None or recipe.of_rows or start not in recipe.models:
        return
    own = recipe.models[start].path
    if tokenizer.path is None or own is None or not _same_file("tokenizer.json", tokenizer.path, own):
        raise at(
            here,
            f"training starts from the model {start!r}, whose weights know its own tokens only: leave `tokenizer:` "
            "out, and its tokenizer is used",
        )


def _same_file(name: str, *directories: str) -> bool:
    """Return whether files of a name in two directories have the same bytes."""
    try:
        first, second = (Path(directory, name).read_bytes() for directory in directories)
    except OSError:
        return False
    return first == second
