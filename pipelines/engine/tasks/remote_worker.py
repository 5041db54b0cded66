"""Tasks on other machines, where the only tie to the run is a shared file system."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from windtunnel.pipelines.engine.tasks.task import Task, TaskRunner, do
from windtunnel.schemas.artifact import write_text

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class RemoteRunner(TaskRunner):
    """Runs tasks in the directory and with the import paths of the run, each in a child that may die.

    The parent stays small and waits, so that what the system kills for want of memory is the child, and the parent
    can tell of it: datatrove's Ray worker would wait for a killed process for ever.
    """

    def __init__(self, tasks: list[Task]) -> None:
        super().__init__([_absolute(task) for task in tasks])
        self.directory = str(Path.cwd())
        self.import_paths = [str(Path(path or ".").absolute()) for path in sys.path]

    def __call__(self, data: Iterable[Any] | None, rank: int = 0, world_size: int = 1) -> None:
        """Do task `rank`; raises only where the file system of the run is not there."""
        task = Task(**self.tasks[rank])
        if not Path(task.out).is_dir():
            raise FileNotFoundError(f"{task.out} is not on this machine: the store must lie on a shared file system")
        os.chdir(self.directory)
        sys.path.extend(path for path in self.import_paths if path not in sys.path)
        here = os.getpid()
        child = os.fork()
        if child == 0:
            try:
                _die_with(here)
                do(task)
            finally:
                os._exit(0)  # without the exit hooks of the process that was forked
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            lost(
                task,
                f"the worker process was killed ({signal.Signals(os.WTERMSIG(status)).name}), mostly for want of "
                "memory; run again with more memory a task (option mem_per_cpu_gb); finished shards are kept",
            )


def lost(task: Task, message: str) -> None:
    """Leave an error file for a task that cannot tell of its end itself."""
    task.error_file.parent.mkdir(parents=True, exist_ok=True)
    task.pid_file.unlink(missing_ok=True)
    write_text(task.error_file, json.dumps({"error": "TaskLost", "message": message, "exit_code": 1}, indent=1))


def unfinished(tasks: list[Task]) -> list[tuple[int, Task]]:
    """Return the tasks that left neither counts nor an error, each with its place in the list."""
    return [
        (place, task)
        for place, task in enumerate(tasks)
        if not task.counts_file.exists() and not task.error_file.exists()
    ]


def last_lines(log: Path, lines: int = 5) -> str:
    """Return the end of a log file, indented; empty when there is none."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            found = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return "".join(f"\n    {line}" for line in found[-lines:])


def _absolute(task: Task) -> Task:
    inputs = {role: str(Path(path).absolute()) for role, path in task.inputs.items()}
    directory = str(Path(task.plugin_directory).absolute())
    return replace(task, out=str(Path(task.out).absolute()), inputs=inputs, plugin_directory=directory)


def _die_with(parent: int) -> None:
    """End this process when its parent ends: an interrupted run leaves nothing at work."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
