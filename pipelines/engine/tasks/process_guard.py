"""What ties the processes of a run to the run: when it is killed they end too, and none of them keeps its lock."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import sys
import threading
from collections.abc import Iterator

PR_SET_PDEATHSIG = 1  # linux/prctl.h

_own: dict[int, int] = {}  # open descriptors that no forked process may keep -> the process that opened them
_forking: list[bool] = []  # the last fork, whether it is the main thread's


@contextlib.contextmanager
def own(handle: int) -> Iterator[None]:
    """Keep a descriptor to this process: what forks meanwhile closes it, and ends when this process ends (on Linux).

    A kernel's lock would otherwise outlive its holder in any forked process, datatrove's manager of queues say.
    """
    _watch_forks()
    _own[handle] = os.getpid()
    try:
        yield
    finally:
        _own.pop(handle, None)


@functools.cache
def _watch_forks() -> None:
    # the library is looked up here: between a fork and the child's first lines only the bare call is safe
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None

    def before() -> None:
        _forking[:] = [threading.current_thread() is threading.main_thread()]

    def in_child() -> None:
        parents = set(_own.values())
        for handle in _own:
            with contextlib.suppress(OSError):
                os.close(handle)
        _own.clear()
        # the kernel sends the signal when the forking thread ends: only the main thread's end is that of the run
        if parents and prctl and _forking == [True]:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() not in parents:
                os._exit(1)

    os.register_at_fork(before=before, after_in_child=in_child)


@functools.cache
def end_with_pool() -> None:
    """End this worker of a process pool at once when the process that has the pool is gone, even after kill -9.

    Without it a killed run's workers would go on with their shards beside those of the next run. Does nothing in a
    process that is no worker.
    """
    from multiprocess import connection, parent_process

    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
