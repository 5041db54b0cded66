"""Slurm's commands: send a batch script, wait for the jobs of a name, cancel them, ask how they ended."""

from __future__ import annotations

import subprocess
import time

from windtunnel.schemas.errors import WindtunnelError

POLL_SECONDS = 2.0
SILENCE_SECONDS = 600.0  # how long squeue may fail before the run gives up
# reasons for which a waiting job waits for ever; see squeue(1), JOB REASON CODES
HOPELESS = {
    "AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS",
    "PartitionNodeLimit", "PartitionTimeLimit",
}  # fmt: skip


def submit(script: str) -> str:
    """Send a batch script and return the number of its job; what sbatch says of an error goes to standard error."""
    sent = subprocess.run(["sbatch", "--parsable"], input=script, stdout=subprocess.PIPE, text=True)
    if sent.returncode:
        raise WindtunnelError(
            f"Slurm refused the job (sbatch ended with {sent.returncode}; its message is above): change the "
            "executor's options, such as partition, time or mem_per_cpu_gb"
        )
    return sent.stdout.strip().partition(";")[0]  # ;CLUSTER may follow


def cancel(name: str) -> None:
    """Cancel the jobs of a name, whether they wait or run."""
    _command("scancel", "--name", name)


def cancel_and_wait(name: str) -> None:
    """Cancel the jobs that an earlier, killed run left, and wait until they have left the queue."""
    while _queue(name):
        cancel(name)
        time.sleep(POLL_SECONDS)


def wait(name: str) -> None:
    """Wait until the jobs of a name have left the queue; raise WindtunnelError when one can never start."""
    while queue := _queue(name):
        hopeless = [reason for state, reason in queue if state == "PENDING" and reason in HOPELESS]
        if hopeless:
            raise WindtunnelError(
                f"Slurm will never start the job: {hopeless[0]}; change the executor's options, such as partition, "
                "time or qos"
            )
        time.sleep(POLL_SECONDS)


def end_states(name: str) -> dict[str, str]:
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
