"""A line of JSON for every point of a run, in a file of the store.

In a recipe: `train: {log: {./new_part.py:NewPart: {name: lines.jsonl}}}`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from windtunnel.trainer.loggers._logger import Logged, Logger, Session


class NewPart(Logger):
    """Appends numbers to a file, which any program can follow."""

    package: ClassVar = "json"  # what `start` imports; a recipe is refused where it is missing
    install: ClassVar = "nothing"  # its name for pip

    # Parameters that `windtunnel check logger ./new_part.py:NewPart` tries.
    examples: ClassVar = ({}, {"name": "numbers.jsonl"})

    name: str = "lines.jsonl"

    def start(self, run: Logged) -> Session:
        """Open the log of a stage. What it raises, here or later, is noted, and training goes on."""
        return _Lines(run.store / self.name, run.name)


class _Lines:
    def __init__(self, file: Path, run: str) -> None:
        self.file, self.run = file, run

    def add(self, step: int, values: Mapping[str, float]) -> None:
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"run": self.run, "step": step, **values}) + "\n")

    def close(self) -> None:
        pass
