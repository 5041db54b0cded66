"""Supervises one server process and ends it, whatever happens to the run that uses it.

`generators.serving.server` starts it as a script in a new process group. It starts the server, waits, and ends the
group on a signal, when the server's main process ends, or when the owning run has been dead for longer than `linger`
seconds; within that time the next run can adopt the server by writing itself into the record. If the supervisor itself
is killed, the kernel ends the server, where it supports that.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

POLL_SECONDS = 0.25
GRACE_SECONDS = 10.0
PR_SET_PDEATHSIG = 1


def main(order: dict[str, Any]) -> int:
    """Run the server of an order: `command`, `log`, `record`, `owner` ({pid, created}), `linger`."""
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _frame: signals.append(n))
    with open(order["log"], "wb") as log:
        child = subprocess.Popen(
            order["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_die_with_parent()
        )
    missing_since: float | None = None
    while child.poll() is None and not signals:
        time.sleep(POLL_SECONDS)
        if alive(_owner(order)):
            missing_since = None
            continue
        missing_since = missing_since or time.monotonic()
        if time.monotonic() - missing_since > order["linger"]:
            break
    code = end(child)
    if (_record(order) or {}).get("supervisor", {}).get("pid") == os.getpid():
        Path(order["record"]).unlink(missing_ok=True)  # nothing answers there any more
    return code


def end(child: subprocess.Popen[bytes]) -> int:
    """End the server and all processes it started; return its exit code."""
    family = _family()
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        code = child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        code = -signal.SIGKILL
    for process in {*family, *_family()}:
        with contextlib.suppress(psutil.Error):
            process.kill()
    child.wait()
    return code


def alive(process: dict[str, Any] | None) -> bool:
    """Return whether the process is running, and not another one with a reused pid."""
    if not process:
        return False
    try:
        running = psutil.Process(process["pid"])
        return abs(running.create_time() - process["created"]) < 2.0 and running.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def identity(pid: int) -> dict[str, Any]:
    """Return pid and start time, which distinguish a process from a later one with the same pid."""
    return {"pid": pid, "created": psutil.Process(pid).create_time()}


def _owner(order: dict[str, Any]) -> dict[str, Any] | None:
    """Return the current owner: that of the record once it names this supervisor, else that of the order."""
    record = _record(order)
    return record["owner"] if record and record["supervisor"]["pid"] == os.getpid() else order["owner"]


def _record(order: dict[str, Any]) -> dict[str, Any] | None:
    try:
        record = json.loads(Path(order["record"]).read_text())
        return record if {"supervisor", "owner"} <= set(record) else None
    except (OSError, ValueError, TypeError):
        return None


def _family() -> set[psutil.Process]:
    """Return the other processes of this process group, orphaned descendants included."""
    family = set(psutil.Process().children(recursive=True))
    group = os.getpgrp()
    if group != os.getpid():
        return family  # started by hand: the group is the shell's
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if process.pid != os.getpid() and os.getpgid(process.pid) == group:
                family.add(process)
    return family


def _die_with_parent() -> Callable[[], None]:
    """Return a hook by which the kernel ends the server when the supervisor dies (Linux; a no-op elsewhere).

    The library is loaded before the fork, because only the call itself is safe after it.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    return lambda: prctl and prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
