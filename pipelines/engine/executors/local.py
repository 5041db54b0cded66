"""Tasks in worker processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, forkserver, process, resource_tracker
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from windtunnel.pipelines.engine.tasks.process_guard import end_with, last_lines, log_to
from windtunnel.pipelines.engine.tasks.task import Task, do
from windtunnel.schemas.errors import WindtunnelError

PRELOAD = ["numpy", "pyarrow.parquet", "polars", __name__]  # imported once, then forked into every worker
WORKERS_LOG = "workers.log"
KILLED = {-signal.SIGKILL, 255}  # exit codes; the second stands for those that a killed fork server did not tell
WATCH_SECONDS = 1.0  # between two looks at the workers
TERMINATE_SECONDS = 2.0  # how long the workers of a broken pool have before they are killed
NAMED = 3  # tasks in an error message
POLARS_THREADS = "POLARS_MAX_THREADS"
WAITING = "OMP_WAIT_POLICY"  # torch's threads that wait would keep a core busy: a third of the speed beside other work

_worker: list[_Stage] = []  # in a worker process: its stage, set once by `_begin`


class Options(BaseModel):
    """This machine needs none."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class _Stage:
    """What a worker process gets when it starts."""

    tasks: Sequence[Task]
    logs: Path
    threads: int  # for Arrow
    at_work: Any  # in shared memory, one number per task: the process at the task, or 0


@contextlib.contextmanager
def bounded_pools(threads: int) -> Iterator[None]:
    """Let polars use so many threads in processes that start here, unless the user set a number.

    Each would take every core otherwise. It is read when polars is imported, which the fork server does beforehand.
    """
    bounded = POLARS_THREADS in os.environ
    os.environ.setdefault(POLARS_THREADS, str(threads))
    try:
        yield
    finally:
        if not bounded:
            del os.environ[POLARS_THREADS]


def run(tasks: list[Task], workers: int, options: Options, logs: Path) -> None:
    """Run all tasks in at most `workers` processes, and in as many as have the cores that tasks ask for.

    One process is this one, and has all cores. Raises WindtunnelError when a worker is killed, and whatever a task
    raises: it could not write its error file then.
    No worker is left when this function ends, by an exception or an interrupt too.
    """
    cores = os.cpu_count() or 1
    needed = max((task.cores for task in tasks), default=1)
    processes = max(1, min(workers, len(tasks), cores // needed if needed > 1 else workers))
    os.environ.setdefault(WAITING, "passive")
    if processes == 1:
        for task in tasks:
            do(task)
        return
    _check_main()
    threads = max(2, cores // workers)  # two: one computes while the other waits for the disk
    logs = logs.absolute()
    with bounded_pools(threads):
        _start_fork_server(logs / WORKERS_LOG)
    context = multiprocessing.get_context("forkserver")
    _run_pool(context, _Stage(tasks, logs, threads, context.RawArray("i", len(tasks))), processes)


def _check_main() -> None:
    """Raise WindtunnelError where a worker could not load the main module, as when that is read from standard input.

    What has no file, as with `python -c` and in notebooks, is not loaded.
    """
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is None or getattr(main, "__spec__", None) is not None or Path(file).stem == "ipython":
        return
    began_in = getattr(process, "ORIGINAL_DIR", None) or "."  # as multiprocessing completes a relative path
    if not Path(began_in, file).exists():
        read = "read from standard input" if Path(file).name == "<stdin>" else f"of a file that is gone, {file}"
        raise WindtunnelError(
            f"the program is {read}, and worker processes cannot load that: save it as a file, or use one worker"
        )


def _start_fork_server(log: Path) -> None:
    """Start it with standard error in a file: until its workers ignore interrupts, a Ctrl-C gives tracebacks there.

    The resource tracker, which outlives the others, ignores all signals to the group but that of a closed terminal.
    """
    forkserver.set_forkserver_preload(PRELOAD)
    log.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    try:
        with open(log, "ab") as file:
            os.dup2(file.fileno(), 2)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])  # which a new process inherits
        try:
            resource_tracker.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        forkserver.ensure_running()
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def _run_pool(context: ForkServerContext, stage: _Stage, processes: int) -> None:
    others = set(multiprocessing.active_children())
    workers: set[BaseProcess] = set()

    def kill() -> None:
        for worker in {*workers, *multiprocessing.active_children()} - others:
            worker.kill()

    guard, run_end = context.Pipe(duplex=False)  # closed by the kernel when this process is killed
    pool = ProcessPoolExecutor(processes, context, _begin, (stage, guard, dict(os.environ)))
    try:
        futures = []
        for place in range(len(stage.tasks)):
            futures.append(pool.submit(_work, place))
            if len(workers) < processes:
                workers.update(set(multiprocessing.active_children()) - others)
        _results(futures, workers)
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


def _results(futures: Iterable[Future[None]], workers: Iterable[BaseProcess]) -> None:
    """Wait for all tasks. Raises what a task raises, and BrokenProcessPool when a worker has ended.

    The pool sees that too, but not always: it takes note of a worker that it has started only when something else
    happens, and until then such a worker's end goes unnoticed, for as long as the task of another one takes.
    """
    left = set(futures)
    while left:
        done, left = wait(left, WATCH_SECONDS, FIRST_COMPLETED)
        for future in done:
            future.result()
        if left and connection.wait([worker.sentinel for worker in workers], 0):
            for worker in workers:
                worker.terminate()  # of the others, as a pool does that has seen it
            raise BrokenProcessPool


def _killed(stage: _Stage, workers: Iterable[BaseProcess]) -> str:
    """Return the error of a broken pool, whose other workers the pool has ended by SIGTERM.

    It names the tasks of the workers that ended otherwise; where they had none, those at work, or those not yet begun.
    """
    codes = {worker.pid: worker.exitcode for worker in workers if worker.exitcode != -signal.SIGTERM}
    at_work = [(task, pid) for task, pid in zip(stage.tasks, stage.at_work, strict=True) if pid]
    tasks = [task for task, pid in at_work if pid in codes] or [task for task, _ in at_work]
    log = stage.logs / (tasks[0].log_name if tasks else WORKERS_LOG)
    tasks = tasks or [task for task in stage.tasks if not task.ended]
    names = ", ".join(f"{task.step} (shard {task.rank})" for task in tasks[:NAMED])
    end = "was killed from outside, mostly for want of memory; run again with fewer --workers; finished shards are kept"
    if crashes := set(codes.values()) - KILLED:
        end = f"ended with exit code {crashes.pop()}; finished shards are kept; its log: {log}{last_lines(log)}"
    return f"{names}{', ...' * (len(tasks) > NAMED)}: the worker process {end}"


def _begin(stage: _Stage, guard: connection.Connection, environment: dict[str, str]) -> None:
    """Prepare a worker process: it ends when the run closes the other side of `guard`, or dies, and not by Ctrl-C.

    It gets the environment of this run: that of the fork server is of the first run of the process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(guard)
    for name in os.environ.keys() - environment.keys() - {POLARS_THREADS}:
        del os.environ[name]
    os.environ.update(environment)
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
