"""Tasks in worker processes of this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from windtunnel.pipelines.engine.tasks.task import Task, TaskRunner

# imported once, then forked into every worker
PRELOAD = ["numpy", "pyarrow.parquet", "polars", "windtunnel.pipelines.engine.tasks.task"]


class Options(BaseModel):
    """This machine needs none."""

    model_config = ConfigDict(extra="forbid")


@contextlib.contextmanager
def bounded_pools(threads: int) -> Iterator[None]:
    """Let polars use so many threads in processes that start here, unless the user set a number.

    Each would take every core otherwise. It is read when polars is imported, which the fork server does beforehand.
    """
    name = "POLARS_MAX_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(threads)
    try:
        yield
    finally:
        del os.environ[name]


def run(tasks: list[Task], workers: int, options: Options, logs: Path) -> None:
    """Run all tasks in at most `workers` processes."""
    import multiprocess
    from loguru import logger

    from windtunnel.pipelines.engine.executors._local_pool import QuietLocalExecutor

    logger.remove()
    multiprocess.set_forkserver_preload(PRELOAD)
    processes = max(1, min(workers, len(tasks)))
    threads = max(2, (os.cpu_count() or 1) // max(1, workers))  # two: one computes while the other waits for the disk
    runner = TaskRunner(tasks, threads if processes > 1 else None)  # one process is this one, and has all cores
    executor = QuietLocalExecutor(pipeline=[runner], tasks=len(tasks), workers=processes, logging_dir=str(logs))
    with bounded_pools(threads):
        executor.run_watched(tasks)
