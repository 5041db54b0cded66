"""Tasks as job arrays of Slurm, sent from a login node; the store lies on a shared file system.

submitit is not used: it learns of the end of a job from sacct alone, which needs an accounting database, and not of a
job that can never start. It also neither splits arrays that are too large for the cluster nor finds the jobs of a
killed run by their name, and it exchanges pickles through the store.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from windtunnel.pipelines.engine.tasks import remote_worker
from windtunnel.pipelines.engine.tasks.process_guard import last_lines
from windtunnel.pipelines.engine.tasks.task import Task
from windtunnel.schemas.errors import WindtunnelError

TASKS = "tasks.jsonl"
POLL_SECONDS = 2.0
SILENCE_SECONDS = 600.0  # how long squeue may fail before the run gives up
# reasons for which a waiting job waits for ever; see squeue(1), JOB REASON CODES
HOPELESS = {
    "AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS",
    "PartitionNodeLimit", "PartitionTimeLimit",
}  # fmt: skip
LATE_FILES_SECONDS = 10.0  # a shared file system may show the last files late
ADVICE = {
    "TIMEOUT": "; give it more time (option time=...)",
    "OUT_OF_MEMORY": "; give it more memory (option mem_per_cpu_gb=...)",
}
SCRIPT = """\
#!/bin/bash
{directives}
#SBATCH --requeue
{env_command}
set -xe
export PYTHONUNBUFFERED=TRUE
srun --cpus-per-task={cores} --ntasks=1 python -m {module} {tasks} $(({first} + SLURM_ARRAY_TASK_ID))
"""


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

    def script(self, name: str, logs: Path, jobs: int, workers: int, first: int, after: str | None) -> str:
        """Return the batch script of an array of jobs, for the tasks from `first` on; it begins after job `after`."""
        arguments = {
            "job-name": name,
            "output": str(logs / "%A_%a.out"),
            "array": f"0-{jobs - 1}%{workers}",
            "dependency": f"afterany:{after}" if after else "",
            "nodes": "1",
            "cpus-per-task": str(self.cpus_per_task),
            "mem-per-cpu": f"{self.mem_per_cpu_gb}G",
            "partition": self.partition,
            "time": self.time,
            "qos": self.qos,
            "gpus": str(self.gpus_per_task or ""),
            **self.sbatch_args,
        }
        # without what nobody set: the cluster has defaults of its own
        directives = [f"#SBATCH --{key}={shlex.quote(value)}" for key, value in arguments.items() if value]
        python = shlex.quote(str(Path(sys.executable).parent))  # not resolved: a link names its environment
        return SCRIPT.format(
            directives="\n".join(directives),
            env_command=self.env_command or f"export PATH={python}:$PATH",
            cores=self.cpus_per_task,  # srun does not take this over from sbatch
            module=remote_worker.__name__,
            tasks=shlex.quote(str(logs / TASKS)),
            first=first,
        )


def run(tasks: Sequence[Task], workers: int, options: Options, logs: Path) -> None:
    """Send all tasks as arrays of jobs, at most `workers` jobs at once, and wait for their end.

    The name of the jobs comes from the directory of the stage: after a crash the same run finds and cancels its old
    jobs. When the run is interrupted it cancels them too.
    """
    if shutil.which("sbatch") is None:
        raise WindtunnelError(
            "--executor slurm needs Slurm's commands (sbatch, squeue, scancel): is this a login node?"
        )
    logs = logs.absolute()
    name = f"windtunnel-{hashlib.sha256(f'{socket.gethostname()}:{logs}'.encode()).hexdigest()[:12]}"
    while _queue(name):
        _command("scancel", "--name", name)
        time.sleep(POLL_SECONDS)
    remote_worker.write_tasks(logs / TASKS, tasks)
    arrays: list[str] = []
    try:
        for first in range(0, len(tasks), options.max_array_size):
            jobs, after = min(options.max_array_size, len(tasks) - first), arrays[-1] if arrays else None
            arrays.append(_submit(options.script(name, logs, jobs, workers, first, after)))
        _wait(name)
    except BaseException:
        _command("scancel", "--name", name)
        raise
    _report_lost(tasks, name, logs, arrays, options.max_array_size)


def _report_lost(tasks: Sequence[Task], name: str, logs: Path, arrays: list[str], array_size: int) -> None:
    """Write the error files of tasks whose jobs ended without a result."""
    waited_since = time.monotonic()
    while not all(task.ended for task in tasks) and time.monotonic() - waited_since < LATE_FILES_SECONDS:
        time.sleep(0.5)
    lost = [(place, task) for place, task in enumerate(tasks) if not task.ended]
    states = _end_states(name) if lost else {}
    for place, task in lost:
        job = f"{arrays[place // array_size]}_{place % array_size}"
        state = states.get(job, "an unknown state")
        log = logs / f"{job}.out"
        message = f"Slurm ended the job in {state} without a result{ADVICE.get(state, '')}; its log: {log}"
        remote_worker.write_lost(task, message + last_lines(log))


def _submit(script: str) -> str:
    """Send a batch script and return the number of its job; what sbatch says of an error goes to standard error."""
    sent = subprocess.run(["sbatch", "--parsable"], input=script, stdout=subprocess.PIPE, text=True)
    if sent.returncode:
        raise WindtunnelError(
            f"Slurm refused the job (sbatch ended with {sent.returncode}; its message is above): change the "
            "executor's options, such as partition, time or mem_per_cpu_gb"
        )
    return sent.stdout.strip().partition(";")[0]  # ;CLUSTER may follow


def _wait(name: str) -> None:
    """Wait until the jobs of a name have left the queue; raise WindtunnelError when one can never start."""
    while queue := _queue(name):
        hopeless = [reason for state, reason in queue if state == "PENDING" and reason in HOPELESS]
        if hopeless:
            raise WindtunnelError(
                f"Slurm will never start the job: {hopeless[0]}; change the executor's options, such as partition, "
                "time or qos"
            )
        time.sleep(POLL_SECONDS)


def _end_states(name: str) -> dict[str, str]:
    """Return the end state by `array_index`, as long as Slurm remembers it (MinJobAge, five minutes by default)."""
    asked = _command("squeue", "--noheader", "--array", "--states", "all", "--name", name, "--format", "%F_%K|%T")
    return dict(line.split("|", 1) for line in asked.stdout.split() if "|" in line)


def _queue(name: str) -> list[list[str]]:
    """Return [state, reason] of every job of a name that waits or runs."""
    silent_since = time.monotonic()
    while True:
        asked = _command("squeue", "--noheader", "--name", name, "--format", "%T|%r")
        if asked.returncode == 0:
            return [line.split("|", 1) for line in asked.stdout.splitlines() if "|" in line]
        if time.monotonic() - silent_since > SILENCE_SECONDS:
            raise WindtunnelError(f"squeue fails: {asked.stderr.strip()}; finished shards are kept")
        time.sleep(POLL_SECONDS)


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True)
