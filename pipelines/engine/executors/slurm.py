"""Tasks as job arrays of Slurm, sent from a login node; the store lies on a shared file system."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from windtunnel.pipelines.engine.tasks.task import Task
from windtunnel.schemas.errors import WindtunnelError


class Options(BaseModel):
    """What one task takes, and where; whatever is left out is the cluster's own default.

    `time` as sbatch takes it (2:00:00); `mem_per_cpu_gb` in GB; `env_command` is run before a task, and by default
    puts the Python of this run first in the path; `sbatch_args` go to sbatch as they are (`sbatch_args.account=nlp`).
    """

    model_config = ConfigDict(extra="forbid")
    partition: str = ""
    time: str = ""
    cpus_per_task: int = Field(default=1, ge=1)
    mem_per_cpu_gb: int = Field(default=2, ge=1)
    gpus_per_task: int = Field(default=0, ge=0)
    qos: str = ""
    env_command: str = ""
    sbatch_args: dict[str, str] = Field(default_factory=dict)
    max_array_size: int = Field(default=1001, ge=1)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of datatrove's executor."""
        here = shlex.quote(str(Path(sys.executable).parent))  # not resolved: a link names its environment
        found = self.model_dump()
        found["env_command"] = self.env_command or f"export PATH={here}:$PATH"
        # srun does not take this over from sbatch
        found["srun_args"] = {"cpus-per-task": self.cpus_per_task}
        return found


def run(tasks: list[Task], workers: int, options: Options, logs: Path) -> None:
    """Send all tasks as one array of jobs, at most `workers` at once, and wait for its end."""
    if shutil.which("sbatch") is None:
        raise WindtunnelError(
            "--executor slurm needs Slurm's commands (sbatch, squeue, scancel): is this a login node?"
        )
    from loguru import logger

    from windtunnel.pipelines.engine.executors._slurm_jobs import WatchedSlurmExecutor

    logger.remove()
    WatchedSlurmExecutor(tasks, workers, logs.absolute(), **options.arguments()).run_watched(tasks)
