"""What it cost: time, processor time, memory, tokens and floating-point operations of every step."""

from __future__ import annotations

from typing import Any, ClassVar

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.made import Made, Section, read_json
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import Record


class StepCost(Record):
    """One step."""

    name: str
    seconds: float
    cpu_seconds: float
    memory: int
    disk: int
    tokens: int
    flops: float
    shards: int
    key: str
    width: float = 0.0


class KindCost(Record):
    """All steps of one kind."""

    name: str
    steps: list[StepCost]
    seconds: float
    cpu_seconds: float
    memory: int
    disk: int
    tokens: int
    flops: float
    width: float


class Cost(Section):
    """Cost by kind of step."""

    title: ClassVar[str] = "Cost"
    order: ClassVar[int] = 70

    kinds: list[KindCost]
    seconds: float
    cpu_seconds: float
    memory: int
    disk: int
    tokens: int  # trained on
    flops: float

    @classmethod
    def of(cls, made: Made) -> Cost | None:
        steps = [_step(name, artifact) for name, artifact in made.artifacts.items() if artifact.done]
        if not steps:
            return None
        names = list(dict.fromkeys(_kind(step.name) for step in steps))
        groups = [[step for step in steps if _kind(step.name) == name] for name in names]
        longest = max(sum(step.seconds for step in group) for group in groups) or 1.0
        kinds = [_group(name, group, longest) for name, group in zip(names, groups, strict=True)]
        return cls(
            kinds=kinds,
            seconds=sum(k.seconds for k in kinds),
            cpu_seconds=sum(k.cpu_seconds for k in kinds),
            memory=max(k.memory for k in kinds),
            disk=sum(k.disk for k in kinds),
            tokens=sum(k.tokens for k in kinds if k.name == "train"),
            flops=sum(k.flops for k in kinds),
        )


def _kind(name: str) -> str:
    return name.partition(":")[0]


def _step(name: str, artifact: Artifact) -> StepCost:
    manifest = artifact.manifest
    result: dict[str, Any] = read_json(artifact.path / "result.json") or {}
    return StepCost(
        name=name,
        seconds=manifest.seconds,
        cpu_seconds=manifest.cpu_seconds,
        memory=manifest.peak_memory_bytes,
        disk=manifest.bytes,
        tokens=int(result.get("tokens") or manifest.counts.get("tokens") or 0),
        flops=float(result.get("flops") or manifest.counts.get("flops") or 0.0),
        shards=manifest.shards,
        key=manifest.key[:8],
    )


def _group(name: str, steps: list[StepCost], longest: float) -> KindCost:
    seconds = sum(step.seconds for step in steps)
    return KindCost(
        name=name,
        steps=[step.model_copy(update={"width": round(100 * step.seconds / longest, 3)}) for step in steps],
        seconds=seconds,
        cpu_seconds=sum(step.cpu_seconds for step in steps),
        memory=max(step.memory for step in steps),
        disk=sum(step.disk for step in steps),
        tokens=sum(step.tokens for step in steps),
        flops=sum(step.flops for step in steps),
        width=round(100 * seconds / longest, 3),
    )


def total_words(cost: Cost) -> str:
    """Return the whole cost in one phrase."""
    return f"{units.seconds(cost.seconds)} of work, {units.seconds(cost.cpu_seconds)} of processor time"
