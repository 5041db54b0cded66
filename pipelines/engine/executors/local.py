"""Tasks in worker processes of this machine."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from windtunnel.pipelines.engine.tasks.process_guard import end_with, log_to
from windtunnel.pipelines.engine.tasks.task import Task, do, unfinished
from windtunnel.schemas.errors import WindtunnelError

PRELOAD = ["numpy", "pyarrow.parquet", "polars", __name__]  # imported once, then forked into every worker
TERMINATE_SECONDS = 2.0  # how long the workers of a broken pool have before they are killed
NAMED = 3  # tasks in an error message

_worker: list[_Stage] = []  # in a worker process: its stage, set once by `_begin`


class Options(BaseModel):
    """This machine needs none."""

    model_config = ConfigDict(extra="forbid")


class _Stage:
    """What a worker process gets when it starts.

    `at_work` has one number per task, in shared memory: the process at the task, or 0.
    """

    def __init__(self, tasks: Sequence[Task], logs: Path, threads: int) -> None:
        self.tasks, self.logs, self.threads = tasks, logs, threads
        self.at_work = multiprocessing.get_context("forkserver").RawArray(ctypes.c_int, len(tasks))


@contextlib.contextmanager
def bounded_pools(threads: int) -> Iterator[None]:
    """Let polars use so many threads in processes that start here, unless the user set a number.

    Each would take every core otherwise. It is read when polars is imported, which the fork server does beforehand.
    """
    name = "POLARS_MAX_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(threads)
    try:
        yield
    finally:
        del os.environ[name]


def run(tasks: list[Task], workers: int, options: Options, logs: Path) -> None:
    """Run all tasks in at most `workers` processes; one process is this one, and has all cores.

    Raises WindtunnelError when a worker is killed, and whatever a task raises: it could not write its error file then.
    No worker is left when this function ends, by an exception or an interrupt too.
    """
    processes = max(1, min(workers, len(tasks)))
    if processes == 1:
        for task in tasks:
            do(task)
        return
    threads = max(2, (os.cpu_count() or 1) // workers)  # two: one computes while the other waits for the disk
    with bounded_pools(threads):
        _start_fork_server()
    _run_pool(_Stage(tasks, logs.absolute(), threads), processes)


def _start_fork_server() -> None:
    """Start it while interrupts are ignored, which its workers inherit: a Ctrl-C is for the run alone to handle."""
    forkserver.set_forkserver_preload(PRELOAD)
    handler = signal.getsignal(signal.SIGINT)
    if handler is None or threading.current_thread() is not threading.main_thread():
        forkserver.ensure_running()
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, handler)


def _run_pool(stage: _Stage, processes: int) -> None:
    others = set(multiprocessing.active_children())
    workers: set[BaseProcess] = set()

    def kill() -> None:
        for worker in {*workers, *multiprocessing.active_children()} - others:
            worker.kill()

    context = multiprocessing.get_context("forkserver")
    guard, run_end = context.Pipe(duplex=False)  # closed by the kernel when this process is killed
    pool = ProcessPoolExecutor(processes, context, _begin, (stage, guard))
    try:
        futures = [pool.submit(_work, place) for place in range(len(stage.tasks))]
        workers.update(set(multiprocessing.active_children()) - others)
        for future in as_completed(futures):
            future.result()
    except (BrokenProcessPool, EOFError, ConnectionError):  # the last two: the fork server was killed
        deadline = threading.Timer(TERMINATE_SECONDS, kill)
        deadline.start()
        pool.shutdown()  # a broken pool terminates its other workers
        deadline.cancel()
        raise WindtunnelError(_killed(stage, workers)) from None
    except BaseException:
        kill()
        raise
    finally:
        pool.shutdown()
        run_end.close()  # ends what is left: without its fork server a worker cannot be killed by the pool
        guard.close()


def _killed(stage: _Stage, workers: Iterable[BaseProcess]) -> str:
    """Return the error of a broken pool, whose other workers the pool has ended by SIGTERM.

    It names the tasks of the workers that ended otherwise; where they had none, those at work, or those not yet begun.
    """
    codes = {worker.pid: worker.exitcode for worker in workers if worker.exitcode != -signal.SIGTERM}
    at_work = [(task, pid) for task, pid in zip(stage.tasks, stage.at_work, strict=True) if pid]
    tasks = [task for task, pid in at_work if pid in codes] or [task for task, _ in at_work]
    tasks = tasks or [task for _, task in unfinished(stage.tasks)]
    names = ", ".join(sorted({f"{task.step} (shard {task.rank})" for task in tasks[:NAMED]}))
    more = f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else ""
    return (
        f"{names}{more}: the worker process was killed from outside, mostly for want of memory; "
        "run again with fewer --workers; finished shards are kept"
    )


def _begin(stage: _Stage, guard: connection.Connection) -> None:
    """Prepare a worker process: it ends when the run closes the other side of `guard`, or dies."""
    end_with(guard)
    import pyarrow as pa

    pa.set_cpu_count(stage.threads)
    _worker.append(stage)


def _work(place: int) -> None:
    stage = _worker[0]
    task = stage.tasks[place]
    log_to(stage.logs / task.log_name)
    stage.at_work[place] = os.getpid()
    do(task)
    stage.at_work[place] = 0
