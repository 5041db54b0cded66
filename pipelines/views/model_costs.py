"""What the answers of models cost: an estimate with its basis before a run, and what was spent after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from windtunnel.generators.client.store import paid_tokens
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.generation import completions_of, paid_models
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.schemas.artifact import MANIFEST, Artifact
from windtunnel.schemas.plugin import base, make
from windtunnel.schemas.spending import Spent, cost, spent_of

PROMPT_TOKENS, ANSWER_TOKENS = 600, 300  # assumed of a request, where neither a step nor the store says more
FEWEST = 10  # completions of a model from which their mean is a basis


@dataclass(frozen=True)
class Estimate:
    """What a step will ask one model for; `basis` says in words where the numbers come from."""

    model: str
    requests: float
    prompt_tokens: float
    completion_tokens: float
    dollars: float
    basis: str


def estimates(plan: Plan, step: Step, store: Path) -> list[Estimate]:
    """Return the expected cost of a step that asks models; empty for others."""
    if not (wanted := _wanted(step)):
        return []
    prices = {name: model.price for name, model in plan.recipe.models.items()}
    if (like := _before(step, store)) is not None:
        rows, spent = like
        scale = wanted.items / rows
        return [_scaled(each, scale, prices, f"as {rows:,} rows took before") for each in spent]
    means = _means(plan)
    found = []
    for name, per_item in wanted.asked.items():
        requests = wanted.items * per_item
        (prompt, answer), basis = means.get(name, ((PROMPT_TOKENS, ANSWER_TOKENS), "assumed tokens a request"))
        dollars = cost(prices.get(name, (0.0, 0.0)), requests * prompt, requests * answer)
        found.append(Estimate(name, requests, requests * prompt, requests * answer, dollars, basis))
    return found


def budget_line(plan: Plan) -> str:
    """Return what is spent of the recipe's budget; empty without one."""
    budget = plan.recipe.budget
    return "" if budget is None else f"${_spent(plan):.2f} of the budget of ${budget.dollars:g} are spent"


def spent_line(plan: Plan) -> str:
    """Return what all answers in the recipe's store cost, with its budget; empty where no model has a price."""
    if not any(any(model.price) for model in plan.recipe.models.values()):
        return ""
    budget = plan.recipe.budget
    return f"${_spent(plan):.2f}" + (f" of ${budget.dollars:g}" if budget is not None else "")


def _spent(plan: Plan) -> float:
    paid = paid_tokens(Path(completions_of(plan)))
    prices = {key: plan.recipe.models[name].price for name, key in paid_models(plan).items()}
    return sum(cost(prices.get(key, (0.0, 0.0)), prompt, answer) for key, (_, prompt, answer) in paid.items())


@dataclass(frozen=True)
class _Wanted:
    items: int
    asked: Mapping[str, float]  # requests per item, by model


def _wanted(step: Step) -> _Wanted | None:
    work: Any = step.work
    if step.kind == "generate":
        kind: Any = make(base("generator"), work.kind)
        asked: dict[str, float] = {}
        for model, requests in kind.requests_per_row():
            asked[model] = asked.get(model, 0.0) + requests
        return _Wanted(kind.rows, asked) if asked else None
    if step.kind == "calibrate":
        lines = Path(work.file).read_bytes().count(b"\n") if work.file else 0
        return _Wanted(lines or work.number, dict.fromkeys(work.judge, 2.0))
    if step.kind == "wins":
        questions = next((getattr(read.work, "questions", 0) for read in step.inputs.values()), 0)
        return _Wanted(questions, dict.fromkeys(work.judge, 2.0)) if questions else None
    return None


def _before(step: Step, store: Path) -> tuple[int, list[Spent]] | None:
    """Return rows and costs of the last finished step of the same name, made with other settings."""
    start = step.directory[: -len(step.key[:8])]
    found = []
    for folder in store.glob(f"{start}????????"):
        if (folder / MANIFEST).exists():
            manifest = Artifact(folder).manifest
            kept, spent = int(manifest.counts.get("kept") or 0), spent_of(manifest.counts)
            if kept and spent:
                found.append(((folder / MANIFEST).stat().st_mtime, kept, spent))
    return max(found, key=lambda each: each[0])[1:] if found else None


def _scaled(each: Spent, scale: float, prices: Mapping[str, tuple[float, float]], basis: str) -> Estimate:
    prompt, answer = each.prompt_tokens * scale, each.completion_tokens * scale
    dollars = cost(prices.get(each.model, (0.0, 0.0)), prompt, answer)
    return Estimate(each.model, each.requests * scale, prompt, answer, dollars, basis)


def _means(plan: Plan) -> dict[str, tuple[tuple[float, float], str]]:
    """Return (prompt, answer) tokens of a request to each model, by the completions in the store."""
    paid = paid_tokens(Path(completions_of(plan)))
    found = {}
    for name, key in paid_models(plan).items():
        number, prompt, answer = paid.get(key, (0, 0, 0))
        if number >= FEWEST:
            found[name] = ((prompt / number, answer / number), f"mean tokens of {number:,} answers in the store")
    return found
