"""Checkpoints that stay: the model after a number of steps, as a directory that transformers loads."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.trainer.loop.loop import Loop

FOLDER = "checkpoints"


class Kept:
    """Exports the model after the steps in `at`, but for the last one: that is `model/`."""

    def __init__(self, at: frozenset[int], steps: int) -> None:
        self.at = at - {steps}

    def begin(self, loop: Loop) -> None:
        """Remove those after the step from which a stage goes on: they are made again."""
        for step in kept_steps(loop.out):
            if step > loop.step:
                shutil.rmtree(loop.out / FOLDER / f"step-{step}")

    def wants(self, step: int) -> bool:
        """Return whether the model is kept after so many steps."""
        return step in self.at

    def settled(self, loop: Loop, rows: list[dict[str, float]]) -> None:
        """Export a copy of the model, since merging a delta or leaving out heads changes it."""
        if self.wants(loop.step):
            (loop.out / FOLDER).mkdir(exist_ok=True, parents=True)
            model = copy.deepcopy(loop.model).eval()
            loop.export(model, loop.out / FOLDER / f"step-{loop.step}", loop.setting.cache / "delta")


def kept_steps(out: Path) -> list[int]:
    """Return after which steps a run's directory holds checkpoints, in order."""
    found = (re.fullmatch(r"step-(\d+)", folder.name) for folder in (out / FOLDER).glob("step-*"))
    return sorted(int(match[1]) for match in found if match)
