"""Supervises one server process and ends it, whatever happens to the run that wanted it.

Started as a script in a process group of its own by `generators.serving.server`. It starts the server, waits, and
ends the whole group when it is told to, when the server's main process ends, or when the run that owns the server is
gone (killed, for instance) for longer than `linger` seconds: within that time the next run may take the server over by
writing itself into the record. If the supervisor itself is killed, the kernel tells the server to end where it can.
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
    """Keep the server of an order: `command`, `log`, `record`, `owner` ({pid, created}), `linger`."""
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _frame: told.append(n))
    with open(order["log"], "wb") as log:
        child = subprocess.Popen(
            order["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_die_with_parent()
        )
    missing_since: float | None = None
    while child.poll() is None and not told:
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
    """End the server and everything that it started; return its exit code."""
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
    """Whether the process with this pid is the very one that was started then: pids are used again."""
    if not process:
        return False
    try:
        found = psutil.Process(process["pid"])
        return abs(found.create_time() - process["created"]) < 2.0 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def identity(pid: int) -> dict[str, Any]:
    """Return what tells a process from a later one with the same pid."""
    return {"pid": pid, "created": psutil.Process(pid).create_time()}


def _owner(order: dict[str, Any]) -> dict[str, Any] | None:
    """Return the run that the server belongs to now: the record says, once it is about this supervisor."""
    record = _record(order)
    return record["owner"] if record and record["supervisor"]["pid"] == os.getpid() else order["owner"]


def _record(order: dict[str, Any]) -> dict[str, Any] | None:
    try:
        record = json.loads(Path(order["record"]).read_text())
        return record if {"supervisor", "owner"} <= set(record) else None
    except (OSError, ValueError, TypeError):
        return None


def _family() -> set[psutil.Process]:
    """Return the other processes of this process group; descendants may have lost their parents."""
    found = set(psutil.Process().children(recursive=True))
    group = os.getpgrp()
    if group != os.getpid():
        return found  # started by hand: the group is the shell's
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if process.pid != os.getpid() and os.getpgid(process.pid) == group:
                found.add(process)
    return found


def _die_with_parent() -> Callable[[], None]:
    """Return a hook that asks the kernel to end the server when the supervisor dies (Linux; a no-op elsewhere).

    The library is looked up here, before the fork: after it, only the bare call is safe.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    return lambda: prctl and prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
