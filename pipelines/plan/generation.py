"""The part of a plan that makes conversations and preferences and trains on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windtunnel.generators.core.generator import Generator
from windtunnel.pipelines.engine.mirrors.opening import store_folder
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.recipe import Model

if TYPE_CHECKING:
    from windtunnel.generators.serving.served import Served


@dataclass
class Generation:
    """Steps by name: models that are files, generated sets, and their training sides."""

    models: dict[str, Step] = field(default_factory=dict)
    sets: dict[str, Step] = field(default_factory=dict)
    train_rows: dict[str, Step] = field(default_factory=dict)
    held_out_pairs: Step | None = None


def generation(made: Plan, corpora: Mapping[str, Step]) -> Generation:
    """Add the recipe's models and generators to the plan."""
    found = Generation()
    for name, model in made.recipe.models.items():
        if model.url is None:
            found.models[name] = made.add(f"model:{name}", _model_work(model))
    for name, generated in made.recipe.generate.items():
        inputs = {role: _source(made, name, role, sources, corpora, found) for role, sources in generated.from_.items()}
        found.sets[name] = _generate(made, name, generated.with_, inputs, found)
    return found


def _model_work(model: Any) -> Any:
    from windtunnel.pipelines.samples.model_files import ModelDirectory, SampleModel
    from windtunnel.pipelines.samples.models import sample_model

    if model.sample is not None:
        return SampleModel(sample=model.sample, fingerprint=sample_model(model.sample).fingerprint())
    return ModelDirectory.of(model.path)


def _source(made: Plan, name: str, role: str, sources: Any, corpora: Mapping[str, Step], found: Generation) -> Step:
    names = [sources] if isinstance(sources, str) else list(sources)
    steps = {source: found.sets[source] if source in found.sets else corpora[source] for source in names}
    if len(steps) == 1:
        return steps[names[0]]
    from windtunnel.pipelines.datasets.union import Union

    if len({source in found.sets for source in names}) > 1:
        from windtunnel.pipelines.recipe.check import at

        raise at(("generate", name, "from", role), "documents and generated rows cannot be joined into one input")
    union = Union(folder="rows" if names[0] in found.sets else "kept")
    return made.add(f"union:{name}:{role}", union, steps)


def _generate(made: Plan, name: str, kind: Any, inputs: dict[str, Step], found: Generation) -> Step:
    from windtunnel.generators.core.generate import Generate
    from windtunnel.schemas.plugin import make

    generator = make(Generator, kind)
    licences, models = _licences(inputs), {}
    for model in generator.models():
        models[model], reads = served(made, model, found)
        inputs = {**inputs, **reads}
    work = Generate(kind=kind, models=models, licences=licences, completions=completions_of(made))
    return made.add(f"generate:{name}", work, inputs)


def _licences(inputs: Mapping[str, Step]) -> dict[str, str]:
    """Return the licences of the sources that inputs are read from, by source; one with several licences has none."""
    from windtunnel.pipelines.sources._read import Read

    known: dict[str, set[str]] = {}
    works = [read.work for step in inputs.values() for read in step.reads()]
    for origin in (origin for work in works if isinstance(work, Read) for origin in work.plugin().origins()):
        if origin.get("licence"):
            known.setdefault(str(origin["name"]), set()).add(str(origin["licence"]))
    return {name: licences.pop() for name, licences in sorted(known.items()) if len(licences) == 1}


def served(made: Plan, name: str, found: Generation) -> tuple[Served, dict[str, Step]]:
    """Return where a model of the recipe answers, and the input that holds it when we serve it ourselves."""
    from windtunnel.generators.serving.served import Served
    from windtunnel.pipelines.samples.models import sample_model

    wanted = made.recipe.models[name]
    if wanted.url is not None:
        return address(wanted), {}
    options = wanted.serve.model_dump() if wanted.serve else {}
    keys = sorted({model.key for model in made.recipe.models.values() if model.key})
    licence = sample_model(wanted.sample).licence if wanted.sample is not None else ""
    ours = Served(role=f"model:{name}", model=name, licence=licence, withheld=tuple(keys), **options)
    return ours, {f"model:{name}": found.models[name]}


def address(model: Model) -> Served:
    """Return where a model with a `url:` answers."""
    from windtunnel.generators.serving.served import Served

    return Served(
        url=model.url,
        model=model.model or "",
        revision=model.revision or "",
        key_variable=model.key,
        price=model.price,
        dialect=model.dialect or "openai",
    )


def completions_of(made: Plan) -> str:
    """Return the file that keeps every completion of a recipe's store."""
    return str(store_folder(made.recipe.store) / "completions.sqlite")


def held_out_rows(made: Plan, found: Generation) -> Step:
    """Add the held-out part of the generated sets (and of the pairs), then the training part of each."""
    from windtunnel.pipelines.datasets.chat_split import ChatSplit

    assert made.recipe.held_out is not None
    share = made.recipe.held_out.share
    inputs = {f"rows:{name}": found.sets[name] for name in made.recipe.held_out.sets}
    held_out = {"held_out": made.add("held_out", ChatSplit(side="held_out", share=share), inputs)}
    train = made.recipe.train
    if train is not None and train.preferences is not None:
        name = train.preferences
        found.held_out_pairs = held_out[f"held_out:{name}"] = made.add(
            f"held_out:{name}", ChatSplit(side="held_out", share=share), {f"rows:{name}": found.sets[name]}
        )
    for name, step in found.sets.items():
        found.train_rows[name] = made.add(
            f"train_rows:{name}", ChatSplit(side="train", share=share), {f"rows:{name}": step, **held_out}
        )
    return held_out["held_out"]


def row_mixes(made: Plan, found: Generation) -> dict[str, Step]:
    """Add one step a mix of generated sets."""
    from windtunnel.pipelines.datasets.mix_rows import MixRows

    mixes = {}
    for name, weights in made.recipe.mixes.items():
        shares = {part: weight for part, weight in weights.items() if weight > 0}
        inputs = {f"rows:{part}": found.train_rows[part] for part in shares}
        mixes[name] = made.add(f"mix:{name}", MixRows(weights=shares), inputs)
    return mixes


def chat_inputs(made: Plan, found: Generation, held_out: Step, mix: Step) -> dict[str, Step]:
    """Return what a training run on chat data reads, by role."""
    inputs = {"conversations": mix, "held_out_conversations": held_out}
    train = made.recipe.train
    if train is not None and train.preferences is not None:
        assert found.held_out_pairs is not None
        inputs["preferences"] = found.train_rows[train.preferences]
        inputs["held_out_preferences"] = found.held_out_pairs
    return inputs
