"""Tasks in worker processes of this machine."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipelines.engine.task import Task, TaskRunner

# imported once, then forked into every worker
PRELOAD = ["numpy", "pyarrow.parquet", "polars", "pipelines.engine.task"]


class Options(BaseModel):
    """This machine needs none."""

    model_config = ConfigDict(extra="forbid")


def run(tasks: list[Task], workers: int, options: Options, logs: Path) -> None:
    """Run all tasks in at most `workers` processes."""
    import multiprocess
    from loguru import logger

    from pipelines.engine.local_executor import QuietLocalExecutor

    logger.remove()
    multiprocess.set_forkserver_preload(PRELOAD)
    processes = max(1, min(workers, len(tasks)))
    executor = QuietLocalExecutor(
        pipeline=[TaskRunner(tasks)], tasks=len(tasks), workers=processes, logging_dir=str(logs)
    )
    executor.run_watched(tasks)
