"""Checks of the stages of a training, before anything is made for them."""

from __future__ import annotations

from typing import Any

from windtunnel.pipelines.recipe.place import at, made, placing
from windtunnel.pipelines.recipe.recipe import Recipe, Train
from windtunnel.pipelines.recipe.yaml_loader import Keys
from windtunnel.schemas import plugin

PAIRS = "preferences"  # the kind of an objective that learns from pairs


def check_stages(recipe: Recipe, train: Train, place: Keys, of_model: Keys) -> None:
    """Raise RecipeError for stages that could only fail, or show nothing, after all rows are generated."""
    objectives: list[Any] = [made("objective", spec, (*place, i)) for i, spec in enumerate(train.stages)]
    model: Any = made("model", train.model, of_model) if train.model is not None else None
    compare = recipe.compare
    of_baseline = compare is not None and recipe.trainings.get(compare.baseline, ("", None))[1] is train
    for i, stage in enumerate(objectives):
        here = (*place, i)
        with placing(*here):
            list(plugin.with_parts([stage]))
        if model is not None and not model.from_files:
            with placing(*here):
                stage.check_model(model.kind, plugin.label(model))
        if stage.kind == PAIRS and train.preferences is None and not _may_hold_pairs(recipe):
            raise at(here, "this stage learns from pairs: name a set of them in `train.preferences:` or in the mixes")
        missing = set(stage.reads_stages()) - {plugin.label(other) for other in objectives[:i] if other.aside}
        if missing:
            name = min(missing)
            raise at(
                here,
                f"this stage reads the model that a stage `{name}` trains, and none is before it: put "
                f"`{{{name}: {{...}}}}` before, or name one of the recipe's models, as in `{{model: NAME}}`",
            )
        if of_baseline and i + 1 == len(train.stages) and not stage.scores:
            raise at(
                here,
                "what this stage leaves gives no probabilities, and `compare:` needs bits per byte: leave `compare:` "
                "out (the pairs are still scored in every run), or end with another stage",
            )
    budget = recipe.tokens.budget if recipe.tokens is not None and not recipe.of_rows else None
    if budget is not None and model is not None and not model.from_files and model.context > budget:
        raise at(
            of_model,
            f"a context of {model.context:,} tokens is longer than the budget of {budget:,}: lower `context` or raise "
            "`budget`",
        )
    if train.gradient_noise and train.launch is None and objectives and all(o.one_micro_batch for o in objectives):
        raise at(
            place,
            "`gradient_noise` compares micro-batches, and every step of these stages is one: give a `micro_tokens` "
            "below `batch_tokens`, or leave it out",
        )
    deltas_in_order(objectives, place)
    alike = train.preferences is not None and all(stage.kind == PAIRS for stage in objectives)
    if compare is not None and len(recipe.mixes) > 1 and alike:
        raise at(
            place,
            "no stage learns from the mixes, so all of them would come out alike: put one that does, such as `sft`, "
            "before those that learn from pairs",
        )


def deltas_in_order(objectives: list[Any], place: Keys) -> None:
    """Raise RecipeError for a stage that cannot train a model with the delta that an earlier one leaves on it."""
    earlier: Any = None
    for i, stage in enumerate(objectives):
        here = (*place, i)
        if earlier is not None and (reason := stage.refuses(earlier)):
            raise at(here, reason)
        for delta in stage.deltas():
            if earlier is not None and (reason := delta.refusal(earlier)):
                raise at(here, reason)
            earlier = delta if not delta.mergeable else earlier


def _may_hold_pairs(recipe: Recipe) -> bool:
    """Return whether a mix takes a set of preferences, as far as that is known before files are looked at."""
    parts = {part for name in recipe.mixes for part in recipe.parts(name)}
    generators: list[Any] = [
        made("generator", g.with_, ("generate", n)) for n, g in recipe.generate.items() if n in parts
    ]
    return bool(parts & set(recipe.rows)) or any("chosen" in generator.output.names for generator in generators)
