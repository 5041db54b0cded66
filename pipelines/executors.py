"""Hands a wave of tasks to one of datatrove's executors: this machine, a Ray cluster or Slurm."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.task import Task, TaskRunner
from schemas.errors import RecipeError, WindtunnelError, nearest

PRELOAD = ["numpy", "pyarrow.parquet", "polars", "pipelines.task"]  # imported once, then forked into every worker


@dataclass(frozen=True)
class Where:
    """Where tasks run. `workers` is how many run at once; `options` go to the executor as they are."""

    executor: str = "local"
    workers: int = 2
    options: Mapping[str, Any] = field(default_factory=dict)


def execute(tasks: list[Task], where: Where, logs: Path) -> None:
    """Run tasks to their end; each leaves a counts file or an error file. Logs of the tasks go below `logs`."""
    if where.executor not in EXECUTORS:
        raise RecipeError(f"no executor is called {where.executor!r}: {nearest(where.executor, EXECUTORS)}")
    shutil.rmtree(logs, ignore_errors=True)  # datatrove would take an earlier wave's marks for this one's
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    EXECUTORS[where.executor](tasks, where, logs)


def _local(tasks: list[Task], where: Where, logs: Path) -> None:
    import multiprocess
    from loguru import logger

    from pipelines.local_executor import QuietLocalExecutor

    logger.remove()
    multiprocess.set_forkserver_preload(PRELOAD)
    workers = max(1, min(where.workers, len(tasks)))
    executor = QuietLocalExecutor(
        pipeline=[TaskRunner(tasks)], tasks=len(tasks), workers=workers, logging_dir=str(logs)
    )
    executor.run_watched(tasks)


def _ray(tasks: list[Task], where: Where, logs: Path) -> None:
    try:
        import ray
    except ImportError:
        raise WindtunnelError("--executor ray needs Ray: pip install 'windtunnel[ray]'") from None
    from datatrove.executor.ray import RayPipelineExecutor
    from loguru import logger

    logger.remove()
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")  # a cluster, or a node of our own
        own = {} if address else {"num_cpus": where.workers, "include_dashboard": False}
        ray.init(address=address, log_to_driver=False, **own)
    options = {"cpus_per_task": 1, "mem_per_cpu_gb": 1, **where.options}
    RayPipelineExecutor(
        pipeline=[TaskRunner(tasks)], tasks=len(tasks), workers=where.workers, logging_dir=str(logs), **options
    ).run()


def _slurm(tasks: list[Task], where: Where, logs: Path) -> None:
    from datatrove.executor.slurm import SlurmPipelineExecutor

    options = {"time": "24:00:00", "partition": "all", "mem_per_cpu_gb": 2, **where.options}
    executor = SlurmPipelineExecutor(
        pipeline=[TaskRunner(tasks)], tasks=len(tasks), workers=where.workers, logging_dir=str(logs), **options
    )
    executor.run()
    _wait_for_slurm(tasks, str(executor.job_id))


def _wait_for_slurm(tasks: list[Task], job: str, poll_seconds: float = 2.0) -> None:
    """Return when every task has left its file or the job has left the queue."""
    import subprocess

    while not all(task.counts_file.exists() or task.error_file.exists() for task in tasks):
        queue = subprocess.run(["squeue", "-h", "-j", job], capture_output=True, text=True)
        if queue.returncode != 0 or not queue.stdout.strip():
            time.sleep(poll_seconds)  # a shared file system may show the last files late
            return
        time.sleep(poll_seconds)


EXECUTORS: dict[str, Callable[[list[Task], Where, Path], None]] = {"local": _local, "ray": _ray, "slurm": _slurm}
