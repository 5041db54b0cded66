"""The part of a plan that asks all runs for the labels of held-out rows, on one scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.check import at
from windtunnel.pipelines.recipe.recipe import Train
from windtunnel.pipelines.recipe.rows import AskedLabels
from windtunnel.schemas.plugin import make
from windtunnel.schemas.role import StepName

if TYPE_CHECKING:
    from windtunnel.trainer.objectives._objective import Objective

Run = tuple[str, int]  # name and seed
MAJORITY = "majority"  # the name of the reference that knows the shares of the labels alone
ON = "the labels of held-out rows, told by a head, at a prompt, after examples or as a reply"


def label_scores(plan: Plan, settings: AskedLabels, runs: Mapping[Run, Step], held_out: Step) -> dict[Run, Step]:
    """Add what every run makes of the labels; return the steps by name and seed, and the majority's.

    A model that has learned from text alone has a step for every number of examples, NAME.K_shots above none.
    """
    from windtunnel.trainer.eval.label_scores import LabelScores

    trainings = plan.recipe.trainings
    if MAJORITY in trainings:
        raise at(("evaluate", "labels"), f"a run is called {MAJORITY!r}, which is the reference's name: rename it")
    assert plan.recipe.compare is not None
    steps: dict[Run, Step] = {}
    for (name, seed), run in runs.items():
        mix, train = trainings[name]
        inputs = {"run": run, "conversations": _conversations(plan, mix), "held_out": held_out}
        for shots in _shots(train, settings):
            own = f"{name}.{shots}_shots" if shots else name
            work = LabelScores(shots=shots, prompt=settings.prompt, device=plan.device())
            steps[own, seed] = plan.add(StepName("labels", own, seed), work, inputs)
    baseline = plan.recipe.compare.baseline
    if not any(name == baseline for name, _ in steps):
        raise at(("evaluate", "labels"), f"the baseline {baseline!r} gives no labels: name another baseline")
    for seed in {seed: None for _, seed in runs}:
        inputs = {"conversations": _conversations(plan, trainings[baseline][0]), "held_out": held_out}
        steps[MAJORITY, seed] = plan.add(StepName("labels", MAJORITY, seed), LabelScores(), inputs)
    return steps


def _shots(train: Train, settings: AskedLabels) -> Iterator[int]:
    """Yield the numbers of examples that the model of a training is asked after; none for one that says no labels."""
    from windtunnel.trainer.models._model import Model
    from windtunnel.trainer.objectives._objective import Objective

    last: Objective = make(Objective, train.stages[-1])
    continues = last.scores and (train.model is None or make(Model, train.model).kind == "causal")
    if last.gives_labels or (continues and last.kind != "tokens"):
        yield 0
    elif continues:
        yield from settings.shots


def _conversations(plan: Plan, mix: str) -> Step:
    step = plan.find(StepName("mix", mix))
    if step is None:
        raise at(("evaluate", "labels"), f"the mix {mix!r} holds no conversations, whose last turns are the labels")
    return step
