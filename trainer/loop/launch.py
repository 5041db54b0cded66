"""A training run in several processes: torchrun, started from the run's own process and ended with it.

The processes meet on disk: a job file says what to train, and the first rank writes what came of it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windtunnel.schemas import plugin_files
from windtunnel.schemas.artifact import Artifact, write_text
from windtunnel.schemas.errors import WindtunnelError
from windtunnel.schemas.launch import Launch

TAIL = 2_000  # characters of what the processes printed that an error shows
PORT = 29_500  # of the meeting point of several nodes


def run_launched(work: Any, launch: Launch, inputs: Mapping[str, Artifact], out: Path) -> dict[str, Any]:
    """Run `work` (a TrainRun) in the processes of `launch`; return its counts. Raises WindtunnelError if one ends."""
    out.mkdir(parents=True, exist_ok=True)
    said, job = out / ".said.json", out / ".job.json"
    said.unlink(missing_ok=True)
    content = {
        "work": work.model_dump(mode="json"),
        "inputs": {role: str(artifact.path) for role, artifact in inputs.items()},
        "out": str(out),
        "parts": str(plugin_files.directory()),
        "shard": launch.shard,
        "parent": os.getpid() if launch.nodes == 1 else None,
    }
    write_text(job, json.dumps(content))
    printed = _run(_command(launch, job), out / ".ranks.log")
    found = json.loads(said.read_text(encoding="utf-8")) if said.exists() else {}
    for file in (said, job, out / ".ranks.log"):
        file.unlink(missing_ok=True)
    if "counts" not in found:
        raise WindtunnelError(found.get("error") or f"a process of the run ended:\n{printed[-TAIL:]}")
    return found["counts"]


def _command(launch: Launch, job: Path) -> list[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={launch.gpus}"]
    module = ["-m", "windtunnel.trainer.loop.launch", str(job)]
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


def main(job_file: str) -> int:
    """Be one of the processes: train, and on the first rank say what came of it."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    if job["parent"] is not None:
        threading.Thread(target=_end_with, args=(job["parent"],), daemon=True).start()
    from windtunnel.trainer.loop.ranks import joined
    from windtunnel.trainer.loop.run import TrainRun

    out, found = Path(job["out"]), {}
    work = TrainRun.model_validate(job["work"])
    try:
        ranks = joined(work.device, job["shard"])
        inputs = {role: Artifact(Path(path)) for role, path in job["inputs"].items()}
        with plugin_files.relative_to(Path(job["parts"])):
            counts = work.train(inputs, out, ranks)
        found = {"counts": counts.model_dump(mode="json")} if ranks.rank == 0 else {}
    except WindtunnelError as error:
        found = {"error": str(error)}
    if found:
        write_text(out / ".said.json", json.dumps(found))
    return int("error" in found)


def _end_with(parent: int) -> None:
    """End this process at once when another one is gone: what it trains for would be trained twice."""
    while True:
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os._exit(1)
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
