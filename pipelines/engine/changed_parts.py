"""Finds finished steps that a plug-in made whose file has changed since, though its version has not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from windtunnel.pipelines.engine.mirrors.opening import address_of
from windtunnel.pipelines.engine.step import Step


def changed_parts(targets: Sequence[Step], store: Path) -> list[str]:
    """Return one message per finished step and changed plug-in file, for the targets and all that they are made from.

    The version of a plug-in says when its results change, so such a step's result is kept: an edit of a comment must
    not run everything again.
    """
    return [message for step in all_steps(targets) for message in _messages(step, store)]


def _messages(step: Step, store: Path) -> Iterator[str]:
    artifact = step.artifact(store)
    if not artifact.sound:
        return
    recorded = {(part.kind, part.reference): part for part in artifact.manifest.parts}
    for part in step.parts:
        before = recorded.get((part.kind, part.reference))
        if before and before.version == part.version and before.digest != part.digest:
            yield (
                f"{step.name}: the file of {part.kind} {part.reference!r} has changed since this result was made, and "
                f"its version is still {part.version}; the result is kept. If results change, raise `version` in the "
                f"class, or delete {' and '.join({str(artifact.path): 0, address_of(artifact): 0})}"
            )


def all_steps(targets: Sequence[Step]) -> list[Step]:
    """Return the targets and all that they are made from, by name."""
    steps: dict[int, Step] = {}
    waiting = list(targets)
    while waiting:
        step = waiting.pop()
        if id(step) not in steps:
            steps[id(step)] = step
            waiting.extend(step.inputs.values())
    return sorted(steps.values(), key=lambda step: step.name)
