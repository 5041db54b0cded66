"""The part of a plan that makes conversations and preferences and trains on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from windtunnel.generators.client.store import COMPLETIONS
from windtunnel.generators.core.generator import Generator
from windtunnel.pipelines.engine.mirrors.opening import store_folder
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.check import at
from windtunnel.pipelines.recipe.recipe import Model
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.model_delta import refuse_delta
from windtunnel.schemas.role import Role, StepName
from windtunnel.schemas.work import Work

if TYPE_CHECKING:
    from windtunnel.generators.client.budget import Budget
    from windtunnel.generators.serving.served import Served


@dataclass
class Generation:
    """Steps by name: models from files, sets of rows with what they hold, and their training parts."""

    plan: Plan
    corpora: Mapping[str, Step]
    models: dict[str, Step] = field(default_factory=dict)
    sets: dict[str, Step] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)  # set -> "conversations" or "preferences"
    train_rows: dict[str, Step] = field(default_factory=dict)
    held_out_pairs: Step | None = None
    questions: Step | None = None  # one's own, for win rates
    floors: dict[str, Step] = field(default_factory=dict)  # by judge: there when it may label


def model_work(model: Model) -> Work:
    from windtunnel.pipelines.samples.model_files import ModelDirectory, SampleModel
    from windtunnel.pipelines.samples.models import sample_model

    if model.sample is not None:
        return SampleModel(sample=model.sample, fingerprint=sample_model(model.sample).fingerprint())
    return ModelDirectory.of(str(model.path))


def united(plan: Plan, name: StepName, steps: Mapping[str, Step], folder: Literal["rows", "kept"]) -> Step:
    """Return the only step, or add the union of several."""
    if len(steps) == 1:
        return next(iter(steps.values()))
    from windtunnel.pipelines.datasets.union import Union

    return plan.add(name, Union(folder=folder), steps)


def generator_step(rows: Generation, name: StepName, kind: Any, inputs: Mapping[str, Step]) -> tuple[Step, str]:
    """Add the run of a generator; return its step and what it holds."""
    from windtunnel.generators.core.generate import FLOOR, Generate
    from windtunnel.schemas.plugin import make

    generator = make(Generator, kind)
    licences, models = _licences(inputs), {}
    for model in generator.models():
        models[model], reads = served(rows.plan, model, rows)
        inputs = {**inputs, **reads}
    for judge in generator.judged_by():
        inputs = {**inputs, **({FLOOR: rows.floors[judge]} if judge in rows.floors else {})}
    about = {"licences": licences, "completions": completions_of(rows.plan), "budget": budget_of(rows.plan)}
    work = Generate(kind=kind, models=models, **about)
    return rows.plan.add(name, work, inputs), "preferences" if "chosen" in generator.output.names else "conversations"


def _licences(inputs: Mapping[str, Step]) -> dict[str, str]:
    """Return the licences of the sources that inputs are read from, by source; one with several licences has none."""
    from windtunnel.pipelines.rows.read_rows import ReadRows
    from windtunnel.pipelines.sources._read import Read

    known: dict[str, set[str]] = {}
    works = [read.work for step in inputs.values() for read in step.reads()]
    for origin in (
        origin for work in works if isinstance(work, (Read, ReadRows)) for origin in work.plugin().origins()
    ):
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
    if model.path is not None:
        try:
            refuse_delta(Path(model.path), "vLLM")
        except InputError as error:
            raise at(("models", name, "path"), str(error)) from error
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
