"""Trackio, which keeps its logs on this machine or in a Space of the Hugging Face Hub."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

from windtunnel.trainer.loggers._logger import Logged, Logger, RunSession, Session


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
        return RunSession(started)
