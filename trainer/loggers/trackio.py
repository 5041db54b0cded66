"""Trackio, which keeps its logs on this machine or in a Space of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

from windtunnel.trainer.loggers._logger import Logged, Logger, Session


class Trackio(Logger):
    """One run a stage, in a project; `trackio show --project PROJECT` shows it."""

    primary: ClassVar = "project"
    package: ClassVar = "trackio"
    install: ClassVar = "trackio"
    examples: ClassVar = ({}, {"project": "mixes", "space": "someone/board"})

    project: str = "windtunnel"
    space: str | None = None  # of the hub; None: on this machine

    def start(self, run: Logged) -> Session:
        trackio: Any = import_module("trackio")  # this file has the same name

        started = trackio.init(
            project=self.project, name=f"{run.name}.stage{run.stage}", space_id=self.space, resume="allow",
            config=dict(run.config), embed=False,
        )  # fmt: skip
        return _Run(started)


class _Run:
    def __init__(self, run: Any) -> None:
        self.run = run

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()
