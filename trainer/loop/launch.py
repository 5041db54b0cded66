"""A training run in several processes: torchrun, started from the run's own process and ended with it.

The processes meet on disk: a job file says what to train, and the first rank writes what came of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windtunnel.schemas import journal, plugin_files
from windtunnel.schemas.artifact import Artifact, remove, write_text
from windtunnel.schemas.errors import InputError, WindtunnelError
from windtunnel.schemas.launch import Launch

TAIL = 2_000  # characters of what the processes printed that an error shows
SAID = ".said.json"  # what came of a run
PORT = 29_500  # of the meeting point of several nodes


def run_launched(work: Any, launch: Launch, inputs: Mapping[str, Artifact], out: Path) -> dict[str, Any]:
    """Run `work` (a TrainRun) in the processes of `launch`; return its counts.

    Raises TrainingError if the run diverges, WindtunnelError if a process ends.
    """
    cores = os.cpu_count() or 1
    if work.device == "cpu" and launch.gpus > max(2, cores):
        raise InputError(f"`launch` asks for {launch.gpus} processes a node, and this machine has {cores} cores")
    out.mkdir(parents=True, exist_ok=True)
    said, job = out / SAID, out / ".job.json"
    remove(said)
    content = {
        "work": work.model_dump(mode="json"),
        "inputs": {role: str(artifact.path) for role, artifact in inputs.items()},
        "out": str(out),
        "parts": str(plugin_files.directory()),
        "shard": launch.shard,
        "journals": journal.names(out),
        "parent": os.getpid() if launch.nodes == 1 else None,
    }
    write_text(job, json.dumps(content))
    printed = _run(_command(launch, job), out / ".ranks.log")
    found = json.loads(said.read_text(encoding="utf-8")) if said.exists() else {}
    for file in (said, job, out / ".ranks.log"):
        remove(file)
    if found.get("diverged"):
        from windtunnel.schemas.errors import TrainingError

        raise TrainingError(found["error"])
    if "counts" not in found:
        raise WindtunnelError(found.get("error") or f"a process of the run ended:\n{printed[-TAIL:]}")
    return found["counts"]


def _command(launch: Launch, job: Path) -> list[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={launch.gpus}"]
    module = ["-m", "windtunnel.trainer.loop.rank", str(job)]
    if launch.nodes == 1:
        return [*torchrun, "--standalone", *module]
    nodes = os.environ.get("SLURM_JOB_NODELIST")
    if nodes is None:
        raise WindtunnelError("`launch: {nodes: ...}` of more than one needs a SLURM job: run with --executor slurm")
    first = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    meeting = [
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={first.stdout.split()[0]}:{PORT}",
        f"--rdzv-id={job.parent.name}",
    ]
    srun = ["srun", f"--nodes={launch.nodes}", "--ntasks-per-node=1"]
    return [*srun, *torchrun, f"--nnodes={launch.nodes}", *meeting, *module]


def _run(command: list[str], log: Path) -> str:
    """Run a command in a session of its own, which is ended with this process; return what it printed."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    return log.read_text(encoding="utf-8", errors="replace")
