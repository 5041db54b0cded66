"""What ties the processes of a run to the run: when it is killed they end too, none keeps its lock, all have logs."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h

_own: dict[int, int] = {}  # open descriptors that no forked process may keep -> the process that opened them


@contextlib.contextmanager
def own(handle: int) -> Iterator[None]:
    """Keep a descriptor to this process: what forks meanwhile closes it, and ends when this process ends (on Linux).

    A kernel's lock would otherwise outlive its holder in any forked process, the workers of a data loader say.
    """
    _watch_forks()
    _own[handle] = os.getpid()
    try:
        yield
    finally:
        _own.pop(handle, None)


@functools.cache
def _watch_forks() -> None:
    _prctl()  # looked up here: between a fork and the child's first lines only the bare call is safe
    in_main_thread = False

    def before() -> None:
        nonlocal in_main_thread
        in_main_thread = threading.current_thread() is threading.main_thread()

    def in_child() -> None:
        parents = set(_own.values())
        for handle in _own:
            with contextlib.suppress(OSError):
                os.close(handle)
        _own.clear()
        # the kernel sends the signal when the forking thread ends: only the main thread's end is that of the run
        if parents and in_main_thread:
            die_with_parent(parents)

    os.register_at_fork(before=before, after_in_child=in_child)


@functools.cache
def _prctl() -> Any:
    return getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None


def die_with_parent(parents: set[int]) -> None:
    """Have the kernel kill this process when its parent, one of `parents`, ends; does nothing but on Linux."""
    if prctl := _prctl():
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() not in parents:
            os._exit(1)


def end_with(guard: Connection) -> None:
    """Kill this process when the other side of a pipe is closed, as the kernel does after kill -9 of its holder.

    Without it a killed run's workers would go on with their shards beside those of the next run.
    """

    def watch() -> None:
        guard.poll(None)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def log_to(file: Path) -> None:
    """Send what this process prints from now on to a file; where that cannot be written, leave it as it was."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        with open(file, "ab") as log:
            for output in {1, 2, sys.stdout.fileno(), sys.stderr.fileno()}:
                os.dup2(log.fileno(), output)


def last_lines(log: Path, lines: int = 5) -> str:
    """Return the end of a log file, indented; empty when there is none."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            ending = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return "".join(f"\n    {line}" for line in ending[-lines:])
