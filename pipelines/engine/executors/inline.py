"""Tasks one after another in the calling process and thread; an error is raised as it is, with its traceback."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from windtunnel.pipelines.engine.tasks.task import Task, measured
from windtunnel.schemas.errors import WindtunnelError


class Options(BaseModel):
    """There are none."""

    model_config = ConfigDict(extra="forbid")


def run(tasks: list[Task], workers: int, options: Options, logs: Path) -> None:
    """Run all tasks; the first error ends the run, and the shards finished before it are kept."""
    for task in tasks:
        try:
            measured(task)
        except SystemExit as error:  # it would end the calling process without a word
            raise WindtunnelError(f"step {task.step}, shard {task.rank}: {type(error).__name__}: {error}") from error
