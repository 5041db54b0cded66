"""Tasks in worker processes of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipelines.engine.task import Task, TaskRunner

# imported once, then forked into every worker
PRELOAD = ["numpy", "pyarrow.parquet", "polars", "pipelines.engine.task"]


class Options(BaseModel):
    """This machine needs none."""

    model_config = ConfigDict(extra="forbid")


def threads_each(processes: int) -> int | None:
    """Return how many threads a pool in each of so many processes may have; None for all, in this process itself.

    Two at least: one decides while the other waits for the disk, and a wave's last task is not held to a single core.
    """
    return max(2, (os.cpu_count() or 1) // processes) if processes > 1 else None


def run(tasks: list[Task], workers: int, options: Options, logs: Path) -> None:
    """Run all tasks in at most `workers` processes."""
    import multiprocess
    from loguru import logger

    from pipelines.engine.local_executor import QuietLocalExecutor

    logger.remove()
    multiprocess.set_forkserver_preload(PRELOAD)
    processes = max(1, min(workers, len(tasks)))
    executor = QuietLocalExecutor(
        pipeline=[TaskRunner(tasks, threads_each(processes))],
        tasks=len(tasks),
        workers=processes,
        logging_dir=str(logs),
    )
    executor.run_watched(tasks)
