"""The part of a plan that makes conversations and preferences and trains on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from windtunnel.generators.client.store import COMPLETIONS
from windtunnel.generators.core.generator import Generator
from windtunnel.pipelines.engine.mirrors.opening import store_folder
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.check import at
from windtunnel.pipelines.recipe.recipe import Calibrate, Model
from windtunnel.pipelines.recipe.weights import positive
from windtunnel.schemas.role import Role, StepName
from windtunnel.schemas.work import Work

if TYPE_CHECKING:
    from windtunnel.generators.client.budget import Budget
    from windtunnel.generators.serving.served import Served


@dataclass
class Generation:
    """Steps by name: models from files, generated sets, and the training part of each set."""

    models: dict[str, Step] = field(default_factory=dict)
    sets: dict[str, Step] = field(default_factory=dict)
    train_rows: dict[str, Step] = field(default_factory=dict)
    held_out_pairs: Step | None = None
    floors: dict[str, Step] = field(default_factory=dict)  # by judge: there when it may label


def generation(plan: Plan, corpora: Mapping[str, Step]) -> Generation:
    """Add the recipe's models and generators to the plan."""
    rows = Generation()
    for name, model in plan.recipe.models.items():
        if model.url is None:
            rows.models[name] = plan.add(StepName("model", name), _model_work(model))
    if plan.recipe.evaluate is not None and plan.recipe.evaluate.calibrate is not None:
        rows.floors = _calibrated(plan, plan.recipe.evaluate.calibrate, rows)
    for name, generated in plan.recipe.generate.items():
        inputs = {role: _source(plan, name, role, sources, corpora, rows) for role, sources in generated.from_.items()}
        rows.sets[name] = _generate(plan, name, generated.with_, inputs, rows)
    return rows


def _model_work(model: Model) -> Work:
    from windtunnel.pipelines.samples.model_files import ModelDirectory, SampleModel
    from windtunnel.pipelines.samples.models import sample_model

    if model.sample is not None:
        return SampleModel(sample=model.sample, fingerprint=sample_model(model.sample).fingerprint())
    return ModelDirectory.of(str(model.path))


def _source(
    plan: Plan, name: str, role: str, sources: str | list[str], corpora: Mapping[str, Step], rows: Generation
) -> Step:
    """Return the step that a generator reads in a role: one corpus or set, or the union of several."""
    names = [sources] if isinstance(sources, str) else sources
    steps = {source: rows.sets[source] if source in rows.sets else corpora[source] for source in names}
    if len(steps) == 1:
        return steps[names[0]]
    from windtunnel.pipelines.datasets.union import Union

    if len({source in rows.sets for source in names}) > 1:
        raise at(("generate", name, "from", role), "documents and generated rows cannot be joined into one input")
    union = Union(folder="rows" if names[0] in rows.sets else "kept")
    return plan.add(StepName("union", name, role), union, steps)


def _generate(plan: Plan, name: str, kind: Any, inputs: dict[str, Step], rows: Generation) -> Step:
    from windtunnel.generators.core.generate import FLOOR, Generate
    from windtunnel.schemas.plugin import make

    generator = make(Generator, kind)
    licences, models = _licences(inputs), {}
    for model in generator.models():
        models[model], reads = served(plan, model, rows)
        inputs = {**inputs, **reads}
    for judge in generator.judged_by():
        inputs = {**inputs, **({FLOOR: rows.floors[judge]} if judge in rows.floors else {})}
    about = {"licences": licences, "completions": completions_of(plan), "budget": budget_of(plan)}
    work = Generate(kind=kind, models=models, **about)
    return plan.add(StepName("generate", name), work, inputs)


def _calibrated(plan: Plan, settings: Calibrate, rows: Generation) -> dict[str, Step]:
    """Add the judge's comparison with labels, and the floor that it must reach; return the floor by judge."""
    from windtunnel.generators.judging.calibrate_judge import CalibrateJudge
    from windtunnel.generators.judging.judge_floor import JudgeFloor

    judge, inputs = served(plan, settings.judge, rows)
    digest = None
    if settings.pairs is not None:
        try:
            digest = blake3(Path(settings.pairs).read_bytes()).hexdigest()[:32]
        except OSError as error:
            here = ("evaluate", "calibrate", "pairs")
            raise at(here, f"{settings.pairs} cannot be read: {error.strerror}") from error
    work = CalibrateJudge(
        judge={settings.judge: judge},
        file=settings.pairs,
        digest=digest,
        number=settings.number,
        completions=completions_of(plan),
        budget=budget_of(plan),
    )
    step = plan.add(StepName("calibrate", settings.judge), work, inputs)
    if settings.min_agreement is None:
        return {}
    floor = JudgeFloor(judge=settings.judge, min_agreement=settings.min_agreement)
    return {settings.judge: plan.add(StepName("floor", settings.judge), floor, {"calibration": step})}


def _licences(inputs: Mapping[str, Step]) -> dict[str, str]:
    """Return the licences of the sources that inputs are read from, by source; one with several licences has none."""
    from windtunnel.pipelines.sources._read import Read

    known: dict[str, set[str]] = {}
    works = [read.work for step in inputs.values() for read in step.reads()]
    for origin in (origin for work in works if isinstance(work, Read) for origin in work.plugin().origins()):
        if origin.get("licence"):
            known.setdefault(str(origin["name"]), set()).add(str(origin["licence"]))
    return {name: licences.pop() for name, licences in sorted(known.items()) if len(licences) == 1}


def served(plan: Plan, name: str, rows: Generation) -> tuple[Served, dict[str, Step]]:
    """Return where a model of the recipe answers, and by role the input that holds it when the run serves it."""
    from windtunnel.generators.serving.served import MODEL, Served
    from windtunnel.pipelines.samples.models import sample_model

    model = plan.recipe.models[name]
    if model.url is not None:
        return address(model), {}
    options = model.serve.model_dump() if model.serve else {}
    keys = sorted({other.key for other in plan.recipe.models.values() if other.key})
    licence = sample_model(model.sample).licence if model.sample is not None else ""
    role = Role(MODEL, name)
    about = {name: getattr(model, name) for name in ("price", "parameters", "verdict")}
    local = Served(role=role, model=name, licence=licence, withheld=tuple(keys), **about, **options)
    return local, {role: rows.models[name]}


def address(model: Model) -> Served:
    """Return where a model with a `url:` answers."""
    from windtunnel.generators.serving.served import Served

    return Served(
        url=model.url,
        model=model.model or "",
        revision=model.revision or "",
        key_variable=model.key,
        price=model.price,
        parameters=model.parameters,
        verdict=model.verdict,
        dialect=model.dialect or "openai",
    )


def budget_of(plan: Plan) -> Budget | None:
    """Return the recipe's budget with the prices of its models, which the answers in its store are counted by."""
    from windtunnel.generators.client.budget import Budget

    if plan.recipe.budget is None:
        return None
    prices = {key: plan.recipe.models[name].price for name, key in paid_models(plan).items()}
    return Budget(dollars=plan.recipe.budget.dollars, prices=prices)


def paid_models(plan: Plan) -> dict[str, str]:
    """Return the models at an address by name: `model@revision`, as their answers are counted in the store."""
    from windtunnel.generators.serving.served import endpoint

    places = {name: address(model) for name, model in plan.recipe.models.items() if model.url is not None}
    endpoints = {name: endpoint(name, place) for name, place in places.items()}
    return {name: f"{each.model}@{each.revision}" for name, each in endpoints.items()}


def completions_of(plan: Plan) -> str:
    """Return the file that keeps every completion of a recipe's store."""
    return str(store_folder(plan.recipe.store) / COMPLETIONS)


def held_out_rows(plan: Plan, rows: Generation) -> Step:
    """Add the held-out part of the generated sets (and of the pairs), then the training part of each set."""
    from windtunnel.pipelines.datasets.chat_split import ChatSplit

    assert plan.recipe.held_out is not None
    share = plan.recipe.held_out.share
    held_out_split = ChatSplit(side="held_out", share=share)
    inputs = {Role("rows", name): rows.sets[name] for name in plan.recipe.held_out.sets}
    step = plan.add(StepName("held_out"), held_out_split, inputs)
    held_out: dict[str, Step] = {"held_out": step}
    train = plan.recipe.train
    if train is not None and train.preferences is not None:
        name = train.preferences
        pairs = plan.add(StepName("held_out", name), held_out_split, {Role("rows", name): rows.sets[name]})
        rows.held_out_pairs = held_out[Role("held_out", name)] = pairs
    train_split = ChatSplit(side="train", share=share)
    for name, generated in rows.sets.items():
        inputs = {Role("rows", name): generated, **held_out}
        rows.train_rows[name] = plan.add(StepName("train_rows", name), train_split, inputs)
    return step


def row_mixes(plan: Plan, rows: Generation) -> dict[str, Step]:
    """Add one step a mix of generated sets."""
    from windtunnel.pipelines.datasets.mix_rows import MixRows

    mixes = {}
    for name, weights in plan.recipe.mixes.items():
        shares = {part: float(weight) for part, weight in positive(weights).items()}  # the check refuses BY_SIZE
        inputs = {Role("rows", part): rows.train_rows[part] for part in shares}
        mixes[name] = plan.add(StepName("mix", name), MixRows(weights=shares), inputs)
    return mixes


def chat_inputs(plan: Plan, rows: Generation, held_out: Step, mix: Step) -> dict[str, Step]:
    """Return the inputs of a training run on chat data, by role."""
    inputs = {"conversations": mix, "held_out_conversations": held_out}
    train = plan.recipe.train
    if train is not None and train.preferences is not None:
        assert rows.held_out_pairs is not None
        inputs["preferences"] = rows.train_rows[train.preferences]
        inputs["held_out_preferences"] = rows.held_out_pairs
    return inputs
