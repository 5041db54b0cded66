"""Checkpoints that stay: the model after a number of steps, as a directory that transformers loads."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from windtunnel.schemas.artifact import remove
from windtunnel.trainer.loop.checkpoint import KEPT, kept_steps

if TYPE_CHECKING:
    from windtunnel.trainer.loop.loop import Loop


class Kept:
    """Exports the model after the steps in `at`, but for the last one: that is `model/`."""

    def __init__(self, at: frozenset[int], steps: int) -> None:
        self.at = at - {steps}

    def begin(self, loop: Loop) -> None:
        """Remove those after the step from which a stage goes on: they are made again."""
        for step in kept_steps(loop.out):
            if step > loop.step:
                remove(loop.out / KEPT / f"step-{step}")

    def wants(self, step: int) -> bool:
        """Return whether the model is kept after so many steps."""
        return step in self.at

    def settled(self, loop: Loop, rows: list[dict[str, float]]) -> None:
        """Export a copy of the model, since merging a delta or leaving out heads changes it."""
        if self.wants(loop.step):
            (loop.out / KEPT).mkdir(exist_ok=True, parents=True)
            model = copy.deepcopy(loop.model).eval()
            loop.export(model, loop.out / KEPT / f"step-{loop.step}", loop.setting.cache / "delta")
