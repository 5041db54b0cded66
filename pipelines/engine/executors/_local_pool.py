"""datatrove's local executor, made quiet and made to notice workers that the system killed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.utils.stats import PipelineStats

from windtunnel.pipelines.engine.tasks.process_guard import end_with_pool
from windtunnel.pipelines.engine.tasks.task import Task
from windtunnel.schemas.errors import WindtunnelError

POLL_SECONDS = 0.5
ALARM = signal.SIGUSR1  # not SIGINT: a shell's background jobs ignore that, and the run would wait for ever


class QuietLocalExecutor(LocalPipelineExecutor):
    """Runs tasks in a process pool, logs to files only, and fails instead of waiting for a dead worker.

    A process pool of Python's replaces a worker that was killed (out of memory, say) but never finishes that worker's
    task: without the watch the run would hang for ever.
    """

    def _launch_run_for_rank(
        self, rank: int, ranks_q: Any, completed: Any = None, completed_lock: Any = None
    ) -> PipelineStats:
        from loguru import logger

        if self.workers > 1:  # one worker is the run itself
            end_with_pool()
        local_rank = ranks_q.get()
        try:
            return self._run_for_rank(rank, local_rank + 1)  # from 1 on, datatrove logs to the file only
        finally:
            logger.remove()
            ranks_q.put(local_rank)

    def run_watched(self, tasks: list[Task]) -> None:
        """Run all tasks; raise WindtunnelError when a worker died without leaving an error.

        To be called in the main thread, where the watch interrupts it.
        """
        if self.workers == 1:
            self.run()
            return
        dead: list[Task] = []
        done = threading.Event()
        watch = threading.Thread(target=_watch, args=(tasks, done, dead), daemon=True)
        before = signal.signal(ALARM, _raise)
        watch.start()
        try:
            self.run()
        except _WorkerDied:
            pass
        finally:
            done.set()
            watch.join()
            signal.signal(ALARM, before)
        if dead:
            steps = ", ".join(sorted({f"{task.step} (shard {task.rank})" for task in dead}))
            raise WindtunnelError(
                f"{steps}: the worker process was killed from outside, mostly for want of memory; "
                "run again with fewer --workers; finished shards are kept"
            )


class _WorkerDied(BaseException):
    """Raised in the main thread by the watch; not an Exception, so that nothing on the way up takes it for its own."""


def _raise(_number: int, _frame: FrameType | None) -> None:
    raise _WorkerDied


def _watch(tasks: list[Task], done: threading.Event, dead: list[Task]) -> None:
    while not done.wait(POLL_SECONDS):
        for task in tasks:
            with contextlib.suppress(OSError, ValueError):
                pid = int(task.pid_file.read_text(encoding="utf-8"))
                if not _alive(pid) and task.pid_file.exists():
                    dead.append(task)
        if dead:
            signal.pthread_kill(threading.main_thread().ident or 0, ALARM)
            return


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:  # a zombie is dead, though its number is taken
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    return True
