"""A Slurm of one node, with everything it writes in a directory of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

CONFIGURATION = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={megabytes}
PartitionName=short Nodes={host} Default=YES MaxTime=10:00 DefaultTime=5:00 State=UP
"""


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """Start munged, slurmctld and slurmd; their commands find them through SLURM_CONF. Ended with the session."""
    daemons = {name: _found(name) for name in ("munged", "slurmctld", "slurmd", "sbatch")}
    lacking = [name for name, path in daemons.items() if path is None]
    if lacking:
        pytest.skip(f"no {', '.join(lacking)} on this machine: install slurm-wlm and munge")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a short path: a socket's name has 107 bytes at most
    before = os.environ.get("SLURM_CONF")
    started: list[subprocess.Popen[bytes]] = []
    try:
        _configure(folder)
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        key = ["--key-file", f"{folder}/munge.key", "--seed-file", f"{folder}/munge.seed"]
        own = ["--pid-file", f"{folder}/munged.pid", "--log-file", f"{folder}/munged.log"]
        munge = [daemons["munged"], "--foreground", "--force", "--socket", f"{folder}/munge.socket", *key, *own]
        for words in (munge, [daemons["slurmctld"], "-D"], [daemons["slurmd"], "-D"]):
            started.append(_start([str(word) for word in words], folder))
        _wait_until_idle(folder)
        yield folder
    finally:
        for daemon in reversed(started):
            daemon.terminate()
        for daemon in started:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        os.environ.pop("SLURM_CONF", None)
        if before is not None:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)


def _found(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _configure(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    controller, daemon = _free_ports()
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            folder=folder,
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            controller=controller,
            daemon=daemon,
            cores=os.cpu_count(),
            megabytes=int(psutil.virtual_memory().total * 0.8) >> 20,
        ),
        encoding="utf-8",
    )


def _free_ports() -> list[int]:
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _start(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with open(folder / f"{Path(words[0]).name}.out", "wb") as out:
        daemon = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    time.sleep(0.5)
    return daemon


def _wait_until_idle(folder: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        asked = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True)
        if asked.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(f"{file.name}: {file.read_text()[-1500:]}" for file in sorted(folder.glob("*.[lo]*")))
    pytest.fail(f"Slurm did not start: {asked.stdout}{asked.stderr}\n{logs}")
