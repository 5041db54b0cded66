"""The step that puts trainings of several kinds side by side: what each is, what it cost, its scores and its probes.

Scores in bits per byte stand in one column and are not all on one scale: a row says whether it compares with the
baseline's, and if not, why (trainer.stats.measures). Probes ask all models the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from windtunnel.schemas.artifact import Artifact, write_text
from windtunnel.schemas.results import RunResult, Totals
from windtunnel.schemas.role import of_kind, runs
from windtunnel.schemas.side_by_side import FILE, PROBES, Figure, ProbeFigure, Row, Table
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.stats.measures import RESULT, incomparable


class SideBySide(Work):
    """Writes `side_by_side.json`. Inputs: `run:NAME:SEED`, and `probe:NAME:SEED` where there are probes."""

    version: ClassVar[int] = 2
    baseline: str

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        by_name: dict[str, list[Artifact]] = {}
        for (name, _), run in runs(inputs).items():
            by_name.setdefault(name, []).append(run)
        probes: dict[str, list[dict[str, Any]]] = {}
        for role, artifact in of_kind(inputs, "probe").items():
            probes.setdefault(role.names[0], []).append(json.loads((artifact.path / PROBES).read_bytes()))
        apart = incomparable(inputs, self.baseline)
        names = sorted(by_name, key=lambda name: name != self.baseline)
        rows = [_row(name, by_name[name], apart.get(name, ""), probes.get(name, [])) for name in names]
        write_text(out / FILE, Table(baseline=self.baseline, rows=rows).model_dump_json(indent=1) + "\n")
        return Counts(seen=len(rows), kept=len(rows))


def _row(name: str, artifacts: Sequence[Artifact], apart: str, probes: Sequence[dict[str, Any]]) -> Row:
    stages = [_stages(artifact.path) for artifact in artifacts]
    last = [each[-1] for each in stages]
    trained = [result.trained_parameters for result in last if result.trained_parameters is not None]
    held_out = [result.held_out for result in last if result.held_out is not None]
    return Row(
        run=name,
        objective=" + ".join(map(_stage_words, stages[0], _deltas(artifacts[0], stages[0]))),
        model=_model(artifacts[0]),
        parameters=round(_mean([result.parameters for result in last])),
        trained=round(_mean(trained)) if len(trained) == len(last) else None,
        tokens=round(_mean([sum(result.tokens for result in each) for each in stages])),
        flops=_mean([sum(result.flops for result in each) for each in stages]),
        seconds=_mean([sum(result.seconds for result in each) for each in stages]),
        seeds=len(artifacts),
        measure=last[0].measure,
        score=_figure([Totals.of([sums]).bits_per_byte for sums in held_out]) if held_out else None,
        loss=_mean([result.final_loss for result in last]),
        incomparable=apart,
        probes={task: _probe([each[task] for each in probes]) for task in (probes[0] if probes else ())},
    )


def _stages(run: Path) -> list[RunResult]:
    """Return the results of all stages of a run, in order."""
    earlier = sorted(run.glob(f"stage*/{RESULT}"), key=lambda path: int(path.parent.name.removeprefix("stage")))
    return [RunResult.model_validate_json(path.read_bytes()) for path in (*earlier, run / RESULT)]


def _stage_words(result: RunResult, delta: str | None) -> str:
    return f"{result.objective} ({delta})" if delta else result.objective


def _deltas(run: Artifact, results: Sequence[RunResult]) -> list[str | None]:
    """Return the names of the deltas of all stages; those of the run's own are also in its configuration."""
    own = [_delta_in(spec) for spec in run.manifest.config.get("stages") or ()]
    of_config = [*[None] * (len(results) - len(own)), *own]
    return [result.delta or name for result, name in zip(results, of_config, strict=True)]


def _delta_in(spec: Any) -> str | None:
    """Return the name of the delta in a stage's spec as it stands in a manifest: a name, or one with its fields."""
    fields = next(iter(spec.values())) if isinstance(spec, dict) and len(spec) == 1 else None
    found = fields.get("delta") if isinstance(fields, dict) else None
    name = next(iter(found), "") if isinstance(found, dict) else str(found or "")
    return name.rpartition(":")[2] or None  # of a class in a file, the class


def _model(run: Artifact) -> str:
    spec = run.manifest.config.get("model")
    return next(iter(spec), "") if isinstance(spec, dict) else str(spec or "")


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _figure(values: Sequence[float]) -> Figure:
    return Figure(mean=_mean(values), half=_half(values))


def _half(values: Sequence[float]) -> float | None:
    """Return the half-width of the 95 % t interval of a mean over seeds."""
    from scipy import special

    count = len(values)
    if count < 2:
        return None
    mean = _mean(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return float(special.stdtrit(count - 1, 0.975)) * spread / math.sqrt(count)


def _probe(figures: Sequence[dict[str, Any]]) -> ProbeFigure:
    """Return the mean over seeds: all see the same items, whose sampling error therefore does not become smaller."""
    accuracy = _mean([each["accuracy"] for each in figures])
    over_seeds = _half([each["accuracy"] for each in figures]) or 0.0
    below, above = (_mean([abs(each[edge] - each["accuracy"]) for each in figures]) for edge in ("low", "high"))
    chosen = [each["layer"] for each in figures]
    return ProbeFigure(
        accuracy=accuracy,
        low=max(0.0, accuracy - math.hypot(below, over_seeds)),
        high=min(1.0, accuracy + math.hypot(above, over_seeds)),
        chance=figures[0]["chance"],
        items=figures[0]["items"],
        layer=max(chosen, key=chosen.count),
    )
