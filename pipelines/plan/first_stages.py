"""Stages before the last one in a recipe with variants: a step each, so that trainings that begin alike train it once.

A stage is alike if its objective, everything before it and the content of what it reads are: mixes that differ in their
pairs alone share the stages that learn from text and from conversations. Every training of variants is divided in this
way, also one that shares nothing yet, so that a variant that is added later leaves the keys of the others as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.schemas.artifact import canonical_json, key_of
from windtunnel.schemas.plugin import label, make
from windtunnel.schemas.role import BOTH, Role, StepName
from windtunnel.trainer.loop.run import EARLIER, MODEL, TrainRun
from windtunnel.trainer.objectives._objective import Objective

KIND = "first_stages"
ROWS = ("conversations", "preferences")
UNREAD = {"tokens": ROWS, "conversations": ROWS[1:], "preferences": ROWS[:1]}  # by what a stage learns from


class FirstStages:
    """The steps of first stages in a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.known: dict[str, Step] = {}  # by content

    def divided(self, mix: str, work: TrainRun, inputs: Mapping[str, Step]) -> tuple[TrainRun, dict[str, Step]]:
        """Return the last stage of a training and its inputs, of which `earlier` is the step of those before it."""
        names, given = [mix], dict(inputs)
        for number, spec in enumerate(work.stages[:-1]):
            objective = make(Objective, spec)
            names.append(label(objective))
            part = work.model_copy(update={"stages": (spec,), "earlier": number})
            left_out = {*UNREAD[objective.kind], *(_named(given) - {Role(MODEL, m) for m in objective.models()})}
            reads = {role: step for role, step in given.items() if role not in left_out}
            made = self._step(BOTH.join(names), part, reads)
            given[Role(MODEL, label(objective)) if objective.aside else EARLIER] = made
        return work.model_copy(update={"stages": work.stages[-1:], "earlier": len(work.stages) - 1}), given

    def _step(self, name: str, work: TrainRun, inputs: Mapping[str, Step]) -> Step:
        content = canonical_json([_without_name(work), {role: _content(step) for role, step in inputs.items()}])
        if content not in self.known:
            same = sum(step.name.names[0].partition("#")[0] == name for step in self._of_seed(work.seed))
            unique = f"{name}#{same + 1}" if same else name
            step_name = StepName(KIND, unique, work.seed)
            self.known[content] = self.plan.add(step_name, work.model_copy(update={"mix": unique}), inputs)
        return self.known[content]

    def _of_seed(self, seed: int) -> list[Step]:
        return [step for step in self.known.values() if step.name.names[1] == str(seed)]


def _named(inputs: Mapping[str, Step]) -> set[str]:
    """Return the roles of models of the recipe, which are not those of earlier stages."""
    return {role for role, step in inputs.items() if Role.parse(role).kind == MODEL and step.name.kind != KIND}


def _without_name(work: TrainRun) -> dict[str, Any]:
    return {name: value for name, value in work.identity().items() if name != "mix"}


def _content(step: Step) -> str:
    """Return a key of what a step makes, whatever the step is called."""
    inputs = {role: each.key for role, each in step.inputs.items() if role not in step.work.aids}
    return key_of(type(step.work).__name__, step.work.version, step.identity, inputs)
