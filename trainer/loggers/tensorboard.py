"""TensorBoard's event files, which `tensorboard --logdir STORE/tensorboard` shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from windtunnel.trainer.loggers._logger import Logged, Logger, Session


class TensorBoard(Logger):
    """One directory of event files a stage, below `folder`: by default `tensorboard` in the store."""

    primary: ClassVar = "folder"
    package: ClassVar = "tensorboard"
    install: ClassVar = "tensorboard"
    examples: ClassVar = ({}, {"folder": "runs/board"})

    folder: str | None = None

    def start(self, run: Logged) -> Session:
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(self.folder) if self.folder is not None else run.store / "tensorboard"
        # numbers after the step from which a run goes on were written by the process that was interrupted
        return _Events(SummaryWriter(str(folder / run.name / f"stage{run.stage}"), purge_step=run.step + 1))


class _Events:
    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def add(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()
