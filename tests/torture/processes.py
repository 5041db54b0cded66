"""The processes of a run, by what they do."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

import psutil

VICTIMS = ("group", "main", "worker", "fork server", "resource tracker")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return []


def members(pid: int, victim: str) -> list[int]:
    """Return the processes of a run that are meant by the name of a victim, which may be none at the moment."""
    if victim == "main":
        return [pid]
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(pid).children()
        servers = [child for child in children if "forkserver" in " ".join(child.cmdline())]
        if victim == "fork server":
            return [server.pid for server in servers]
        if victim == "resource tracker":
            return [child.pid for child in children if "resource_tracker" in " ".join(child.cmdline())]
        return [worker.pid for server in servers for worker in server.children()]
    return []


def strike(pid: int, victim: str, number: signal.Signals, choose: Callable[[list[int]], int]) -> bool:
    """Send a signal to a victim of a run; return whether there was one."""
    with contextlib.suppress(ProcessLookupError):
        if victim == "group":
            os.killpg(pid, number)
            return True
        if found := members(pid, victim):
            os.kill(choose(found), number)
            return True
    return False


def left(processes: list[psutil.Process], seconds: float = 5.0) -> list[str]:
    """Return the processes that are still there after some seconds at most."""
    until = time.monotonic() + seconds
    while (alive := [p for p in processes if _alive(p)]) and time.monotonic() < until:
        time.sleep(0.05)
    return [str(process) for process in alive]


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
