"""Tasks on other machines, where the only tie to the run is a shared file system."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from windtunnel.pipelines.engine.tasks.process_guard import die_with_parent, log_to
from windtunnel.pipelines.engine.tasks.task import Task, do
from windtunnel.schemas.artifact import write_text


@dataclass(frozen=True)
class RemoteTask:
    """A task with the directory and the import paths of the run; all paths are absolute."""

    task: dict[str, Any]
    directory: str
    import_paths: list[str]

    @classmethod
    def of(cls, task: Task) -> RemoteTask:
        """Describe a task of this process for another machine."""
        inputs = {role: str(Path(path).absolute()) for role, path in task.inputs.items()}
        plugins = str(Path(task.plugin_directory).absolute())
        task = replace(task, out=str(Path(task.out).absolute()), inputs=inputs, plugin_directory=plugins)
        return cls(asdict(task), str(Path.cwd()), [str(Path(path or ".").absolute()) for path in sys.path])


def write_tasks(file: Path, tasks: Sequence[Task]) -> None:
    """Write tasks as JSON lines, which this module runs as a script: `remote_worker.py FILE PLACE`."""
    write_text(file, "".join(json.dumps(asdict(RemoteTask.of(task))) + "\n" for task in tasks))


def run_in_child(remote: RemoteTask, log: Path | None = None) -> None:
    """Run a task in a forked process; what it prints goes to `log`. Raises only where the run's files are not there.

    The parent stays small and waits: what the system kills for want of memory is the child, and the parent writes the
    error file.
    """
    task = Task(**remote.task)
    if not Path(task.out).is_dir():
        raise FileNotFoundError(f"{task.out} is not on this machine: the store must lie on a shared file system")
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            die_with_parent({parent})  # an interrupted run leaves nothing at work
            if log:
                log_to(log)
            os.chdir(remote.directory)
            sys.path.extend(path for path in remote.import_paths if path not in sys.path)
            do(task)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)  # without the exit hooks of the process that was forked
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        write_lost(
            task,
            f"the worker process was killed ({signal.Signals(os.WTERMSIG(status)).name}), mostly for want of "
            "memory; run again with more memory a task (option mem_per_cpu_gb); finished shards are kept",
        )


def write_lost(task: Task, message: str) -> None:
    """Write the error file of a task whose process could not."""
    write_text(task.error_file, json.dumps({"error": "TaskLost", "message": message, "exit_code": 1}, indent=1))


def main(file: str, place: int) -> None:
    """Run the task on line `place`, from 0 on, of a file of `write_tasks`."""
    with open(file, encoding="utf-8") as lines:
        run_in_child(RemoteTask(**json.loads(next(islice(lines, place, None)))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
