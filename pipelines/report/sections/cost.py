"""The cost of every step: time, processor time, memory, tokens, floating-point operations, and answers of models."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar

from windtunnel.pipelines.report.results import Results, Section, read_json
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import Record
from windtunnel.schemas.spending import by_model_and_purpose, spent_of, total

SUMS = ("seconds", "cpu_seconds", "disk", "tokens", "flops")


class Costs(Record):
    """The cost of one step, or of all steps of one kind: sums, and the largest memory."""

    name: str
    seconds: float
    cpu_seconds: float
    memory: int
    disk: int
    tokens: int
    flops: float
    width: float = 0.0
    steps: list[Costs] = []  # noqa: RUF012 (pydantic copies it)


class Asked(Record):
    """What a model was asked for one purpose, over all steps; the fields of `Spent`."""

    model: str
    purpose: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    dollars: float


class Cost(Section):
    """Cost by kind of step."""

    title: ClassVar[str] = "Cost"
    order: ClassVar[int] = 70

    kinds: list[Costs]
    seconds: float
    cpu_seconds: float
    memory: int
    disk: int
    tokens: int  # trained on
    flops: float
    asked: list[Asked]
    dollars: float

    @classmethod
    def of(cls, results: Results) -> Cost | None:
        steps: dict[str, list[Costs]] = {}
        for name, artifact in results.finished.items():
            steps.setdefault(name.kind, []).append(_step(name, artifact))
        if not steps:
            return None
        longest = max(sum(step.seconds for step in group) for group in steps.values()) or 1.0
        kinds = [_kind(name, group, longest) for name, group in steps.items()]
        trained = sum(kind.tokens for kind in kinds if kind.name in ("train", "first_stages"))
        spent = by_model_and_purpose(s for a in results.finished.values() for s in spent_of(a.manifest.counts))
        asked = [Asked.model_validate(asdict(each)) for each in spent]
        dollars = total(spent).dollars
        return cls(kinds=kinds, **(_total(kinds) | {"tokens": trained}), asked=asked, dollars=dollars)


def _step(name: str, artifact: Artifact) -> Costs:
    manifest = artifact.manifest
    result: dict[str, Any] = read_json(artifact.path / "result.json") or {}
    return Costs(
        name=name,
        seconds=manifest.seconds,
        cpu_seconds=manifest.cpu_seconds,
        memory=manifest.peak_memory_bytes,
        disk=manifest.bytes,
        tokens=int(result.get("tokens") or manifest.counts.get("tokens") or 0),
        flops=float(result.get("flops") or manifest.counts.get("flops") or 0.0),
    )


def _kind(name: str, steps: list[Costs], longest: float) -> Costs:
    total = _total(steps)
    drawn = [step.model_copy(update={"width": _width(step.seconds, longest)}) for step in steps]
    return Costs(name=name, steps=drawn, width=_width(total["seconds"], longest), **total)


def _total(costs: list[Costs]) -> dict[str, Any]:
    sums = {field: sum(getattr(cost, field) for cost in costs) for field in SUMS}
    return {**sums, "memory": max(cost.memory for cost in costs)}


def _width(seconds: float, longest: float) -> float:
    return round(100 * seconds / longest, 3)
