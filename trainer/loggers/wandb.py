"""Weights & Biases. Its key and address are those of its own settings, such as the variable WANDB_API_KEY."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar, Literal

from windtunnel.trainer.loggers._logger import Logged, Logger, RunSession, Session


class Wandb(Logger):
    """One run a stage, in a project; an interrupted one goes on under the same id."""

    primary: ClassVar = "project"
    package: ClassVar = "wandb"
    install: ClassVar = "wandb"
    examples: ClassVar = ({}, {"project": "mixes", "mode": "offline"})

    project: str = "windtunnel"
    entity: str | None = None
    mode: Literal["online", "offline"] | None = None  # None: as wandb's own settings say

    def start(self, run: Logged) -> Session:
        wandb: Any = import_module("wandb")  # this file has the same name
        name = f"{run.name}.stage{run.stage}"
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        started = wandb.init(
            project=self.project, entity=self.entity, mode=self.mode, name=name, id=name, resume="allow",
            config=dict(run.config), dir=str(run.store), reinit="create_new", settings=settings,
        )  # fmt: skip
        return RunSession(started)
