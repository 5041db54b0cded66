"""The part of a plan that holds a judge against known labels, before it labels anything."""

from __future__ import annotations

from pathlib import Path

from blake3 import blake3

from windtunnel.pipelines.plan.generation import Generation, budget_of, completions_of, served
from windtunnel.pipelines.recipe.check import at
from windtunnel.schemas.role import StepName


def calibrated(rows: Generation) -> None:
    """Add the comparison of the recipe's judge with labels, if it asks for one, and the floor that it must reach."""
    plan = rows.plan
    settings = None if plan.recipe.evaluate is None else plan.recipe.evaluate.calibrate
    if settings is None:
        return
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
    if settings.min_agreement is not None:
        floor = JudgeFloor(judge=settings.judge, min_agreement=settings.min_agreement)
        rows.floors[settings.judge] = plan.add(StepName("floor", settings.judge), floor, {"calibration": step})
