"""datatrove's Slurm executor, made to wait for its jobs and to tell of those that Slurm ended."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from datatrove.executor.slurm import SlurmPipelineExecutor

from windtunnel.pipelines.engine.tasks.remote_worker import RemoteRunner, last_lines, lost, unfinished
from windtunnel.pipelines.engine.tasks.task import Task
from windtunnel.schemas.errors import WindtunnelError

POLL_SECONDS = 2.0
LATE_FILES_SECONDS = 10.0  # a shared file system may show the last files late
SILENCE_SECONDS = 600.0  # how long squeue may fail before the run gives up
# reasons for which a waiting job waits for ever; see squeue(1), JOB REASON CODES
HOPELESS = {
    "AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS",
    "PartitionNodeLimit", "PartitionTimeLimit",
}  # fmt: skip
FLAGS = {"requeue"}  # sbatch arguments without a value


class JobIds(list[str]):
    """Reads the job's number in sbatch's answer and keeps it: tasks beyond one array's size take several arrays."""

    def __call__(self, answer: str) -> str:
        self.append(answer.split()[-1])
        return self[-1]


class WatchedSlurmExecutor(SlurmPipelineExecutor):
    """Sends one array of jobs, waits until it has left the queue, and takes it back when the run is interrupted.

    The job's name comes from the stage's directory: after a crash the same run finds and cancels its old jobs.
    """

    def __init__(self, tasks: list[Task], workers: int, logs: Path, **options: Any) -> None:
        stage = hashlib.sha256(f"{socket.gethostname()}:{logs}".encode()).hexdigest()[:12]
        self.job_ids = JobIds()
        super().__init__(
            job_id_retriever=self.job_ids,
            pipeline=[RemoteRunner(tasks)],
            tasks=len(tasks),
            workers=workers,
            logging_dir=str(logs),
            job_name=f"windtunnel-{stage}",
            **options,
        )

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, Any]:
        """Return what goes to sbatch, without what nobody set: the cluster has defaults of its own."""
        return {key: value for key, value in super().get_sbatch_args(max_array).items() if value or key in FLAGS}

    def launch_merge_stats(self) -> None:
        """Send no second job: the store keeps the costs of every shard."""

    def run_watched(self, tasks: list[Task]) -> None:
        """Run all tasks; every one leaves a counts file or an error file."""
        self._cancel()
        try:
            self.launch_job()
        except subprocess.CalledProcessError as error:
            raise WindtunnelError(
                f"Slurm refused the job (sbatch ended with {error.returncode}; its own words are above): mend the "
                "executor's options, such as partition, time or mem_per_cpu_gb"
            ) from None
        try:
            self._wait()
        except BaseException:
            _command("scancel", "--name", self.job_name)
            raise
        self._tell_of_lost(tasks)

    def _cancel(self) -> None:
        """Cancel the jobs of an earlier, crashed run of the same stage, and wait until they are gone."""
        while self._queue():
            _command("scancel", "--name", self.job_name)
            time.sleep(POLL_SECONDS)

    def _queue(self) -> list[list[str]]:
        """Return [state, reason] of every job of this stage that waits or runs."""
        silent_since = time.monotonic()
        while True:
            asked = _command("squeue", "--noheader", "--name", self.job_name, "--format", "%T|%r")
            if asked.returncode == 0:
                return [line.split("|", 1) for line in asked.stdout.splitlines() if "|" in line]
            if time.monotonic() - silent_since > SILENCE_SECONDS:
                raise WindtunnelError(f"squeue fails: {asked.stderr.strip()}; finished shards are kept")
            time.sleep(POLL_SECONDS)

    def _wait(self) -> None:
        while queue := self._queue():
            hopeless = [reason for state, reason in queue if state == "PENDING" and reason in HOPELESS]
            if hopeless:
                raise WindtunnelError(
                    f"Slurm will never start the job: {hopeless[0]}; mend the executor's options, such as partition, "
                    "time or qos"
                )
            time.sleep(POLL_SECONDS)

    def _tell_of_lost(self, tasks: list[Task]) -> None:
        waited_since = time.monotonic()
        while unfinished(tasks) and time.monotonic() - waited_since < LATE_FILES_SECONDS:
            time.sleep(POLL_SECONDS / 4)
        if not (left := unfinished(tasks)):
            return
        states = self._last_states()
        for rank, task in left:
            number, index = divmod(rank, self.max_array_size)
            place = f"{self.job_ids[number]}_{index}"
            state = states.get(place, "an unknown state")
            log = Path(self.slurm_logs_folder) / f"{place}.out"
            mend = {
                "TIMEOUT": "; give it more time (option time=...)",
                "OUT_OF_MEMORY": "; give it more memory (option mem_per_cpu_gb=...)",
            }.get(state, "")
            lost(task, f"Slurm ended the job in {state} without a result{mend}; its log: {log}{last_lines(log)}")

    def _last_states(self) -> dict[str, str]:
        """Return the end state by `array_index`, as long as Slurm remembers it (MinJobAge, five minutes by default)."""
        asked = _command(
            "squeue", "--noheader", "--array", "--states", "all", "--name", self.job_name, "--format", "%F_%K|%T"
        )
        return dict(line.split("|", 1) for line in asked.stdout.split() if "|" in line)


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True)
