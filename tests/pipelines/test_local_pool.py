"""The local executor when its processes are killed or interrupted: an error within seconds, no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import run
from windtunnel.pipelines.engine.step import Step
from windtunnel.schemas.artifact import Artifact, write_text
from windtunnel.schemas.interrupts import MESSAGES
from windtunnel.schemas.role import StepName
from windtunnel.schemas.work import Counts, Work

MAIN = """
import os, signal, sys
from pathlib import Path
import polars as pl
import typer
import windtunnel.pipelines.cli as cli
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import run
from tests.pipelines.test_local_pool import Pair
marks, store = Path("marks"), Path("store")
if __name__ == "__mp_main__" and (marks / "broken").exists() and (marks / "import").exists():
    (marks / "killed").touch()
    os.kill(os.getpid(), signal.SIGKILL)  # a worker: it imports the main module before it begins
@cli.app.command()
def pair(workers: int) -> None:
    pl.select(1)  # as planning does: from now on polars has a handler of SIGINT
    run([Step("pair:x", Pair(marks=str(marks)))], store, Where(workers=workers))
@cli.app.command()
def api(workers: int) -> None:  # as a script or a notebook does, without the command line's handlers
    try:
        run([Step("pair:x", Pair(marks=str(marks)))], store, Where(workers=workers))
    except KeyboardInterrupt:
        print("caught")
@cli.app.command()
def leave(code: int) -> None:
    raise typer.Exit(code)
if __name__ == "__main__":
    api(int(sys.argv[2])) if sys.argv[1] == "api" else cli.main()
"""


class Pair(Work):
    """Two shards; while the file `broken` exists the second never ends, with the file `both` neither.

    With the file `idle` the worker of the first is killed after its task, with `forkserver` the fork server is killed.
    """

    marks: str

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return 2

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        marks = Path(self.marks)
        with open(marks / f"ran_{rank}", "a") as mark:
            mark.write(f"{os.getpid()}\n")
        if (marks / "broken").exists():
            print(f"shard {rank} prints this", flush=True)
            if rank == 0 and (marks / "idle").exists():
                subprocess.Popen(["sh", "-c", f"sleep 0.5; touch {marks}/killed; kill -9 {os.getpid()}"])
            if rank == 1 and (marks / "crash").exists():
                os.write(2, b"a C library gives up\n")
                os.abort()
            if rank == 1 and (marks / "exit").exists():
                os._exit(0)
            while (rank == 1 or (marks / "both").exists()) and (marks / "broken").exists():
                if (marks / "forkserver").exists() and len(list(out.glob("counts/*"))) == 1:
                    (marks / "killed").touch()
                    os.kill(os.getppid(), signal.SIGKILL)
                    time.sleep(60)
                time.sleep(0.02)
        write_text(out / f"{rank}.txt", str(rank))
        return Counts(seen=1, kept=1)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks" / "broken").touch()
    return tmp_path / "marks"


def command(marks: Path, *words: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    paths = [str(root), str(root / ".src"), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "main.py", *words],
        cwd=marks.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def none_left(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def times_run(marks: Path) -> list[int]:
    return [len((marks / f"ran_{rank}").read_text().splitlines()) for rank in (0, 1)]


def resume(marks: Path) -> None:
    (marks / "broken").unlink()
    done = command(marks, "pair", "2")
    _, error = done.communicate(timeout=120)
    assert done.returncode == 0, error


def also(*values: object) -> object:
    """Return a case that differs little from another one, for the runs that take their time."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize("victim", ["idle", "forkserver"])
def test_a_worker_between_tasks_or_the_fork_server_is_killed(marks: Path, victim: str) -> None:
    (marks / victim).touch()
    ended = command(marks, "pair", "2")
    wait_for((marks / "killed").exists)
    killed = time.monotonic()
    _, error = ended.communicate(timeout=60)
    assert time.monotonic() - killed < 5
    assert ended.returncode == 1
    assert error.startswith("error: pair:x (shard 1): the worker process was killed from outside")
    assert "run again with fewer --workers; finished shards are kept" in error and len(error.splitlines()) == 1
    pids = [int(pid) for rank in (0, 1) for pid in (marks / f"ran_{rank}").read_text().split()]
    wait_for(lambda: none_left(pids), 5)
    resume(marks)
    assert times_run(marks) == [1, 2]


@pytest.mark.parametrize("victim", [also(0), 1])  # of the one that was started last the pool itself would not know
def test_a_worker_is_killed_while_the_other_one_goes_on(marks: Path, victim: int) -> None:
    (marks / "both").touch()
    ended = command(marks, "pair", "2")
    wait_for(lambda: all((marks / f"ran_{rank}").exists() for rank in (0, 1)))
    time.sleep(0.3)
    pids = [int((marks / f"ran_{rank}").read_text()) for rank in (0, 1)]
    os.kill(pids[victim], signal.SIGKILL)
    killed = time.monotonic()
    _, error = ended.communicate(timeout=60)
    assert time.monotonic() - killed < 5
    assert ended.returncode == 1
    assert error.startswith(f"error: pair:x (shard {victim}): the worker process was killed from outside")
    wait_for(lambda: none_left(pids), 5)


def test_a_worker_that_is_killed_while_it_imports(marks: Path) -> None:
    (marks / "import").touch()
    ended = command(marks, "pair", "2")
    wait_for((marks / "killed").exists)
    killed = time.monotonic()
    _, error = ended.communicate(timeout=60)
    assert time.monotonic() - killed < 5
    assert ended.returncode == 1
    assert error.startswith("error: pair:x (shard 0), pair:x (shard 1): the worker process was killed from outside")
    assert not list(marks.glob("ran_*"))
    resume(marks)
    assert times_run(marks) == [1, 1]


@pytest.mark.parametrize(
    ("end", "code", "last"), [("crash", -6, "a C library gives up"), also("exit", 0, "prints this")]
)
def test_a_worker_that_ends_by_itself_is_told_with_the_end_of_its_log(
    marks: Path, end: str, code: int, last: str
) -> None:
    (marks / end).touch()
    ended = command(marks, "pair", "2")
    _, error = ended.communicate(timeout=60)
    assert error.startswith(f"error: pair:x (shard 1): the worker process ended with exit code {code}; finished shards")
    assert ended.returncode == 1 and last in error
    (marks / end).unlink()
    resume(marks)


def interrupted(marks: Path, command_: str, workers: int, group: bool, number: signal.Signals) -> tuple[int, str, str]:
    """Send a signal in the middle of a stage; return the exit code, the output, and the errors, after checks."""
    run_ = command(marks, command_, str(workers))
    counts = marks.parent / "store"
    wait_for(lambda: list(counts.glob("*.partial/counts/00000.json")) and (marks / "ran_1").exists())
    processes = [run_.pid, *(child.pid for child in psutil.Process(run_.pid).children(recursive=True))]
    (os.killpg if group else os.kill)(run_.pid, number)
    interrupted = time.monotonic()
    out, error = run_.communicate(timeout=60)
    assert time.monotonic() - interrupted < 3
    wait_for(lambda: none_left(processes), 5)
    return run_.returncode, out, error


@pytest.mark.parametrize(
    ("number", "workers", "group"),
    [  # a terminal sends the signal to all processes of the run
        (signal.SIGINT, 2, True),
        (signal.SIGINT, 1, False),
        (signal.SIGTERM, 2, True),
        (signal.SIGHUP, 1, False),
        also(signal.SIGINT, 2, False),
        also(signal.SIGINT, 1, True),
        also(signal.SIGTERM, 1, False),
        also(signal.SIGHUP, 2, True),
    ],
)
def test_the_first_signal_ends_the_run(marks: Path, number: signal.Signals, workers: int, group: bool) -> None:
    code, out, error = interrupted(marks, "pair", workers, group, number)
    assert (code, error) == (128 + number, f"error: {MESSAGES[number]}\n")
    logs = "".join(file.read_text() for file in (marks.parent / "store" / ".stages").rglob("pair.x-*.log"))
    assert ("shard 1 prints this" in logs, "shard 1 prints this" in out) == (workers == 2, workers == 1)
    if number == signal.SIGINT:
        resume(marks)
        assert times_run(marks) == [1, 2]


def test_an_interrupt_reaches_the_caller_of_the_library(marks: Path) -> None:
    assert interrupted(marks, "api", 2, True, signal.SIGINT) == (0, "caught\n", "")


@pytest.mark.parametrize("victim", ["worker", "resource tracker"])
def test_a_worker_that_is_stopped_is_not_dead_and_the_resource_tracker_is_not_needed(marks: Path, victim: str) -> None:
    run_ = command(marks, "pair", "2")
    wait_for(lambda: (marks / "ran_1").exists() and (marks / "ran_1").read_text())
    if victim == "worker":
        worker = psutil.Process(int((marks / "ran_1").read_text()))
        worker.suspend()
        time.sleep(0.5)
        assert run_.poll() is None
        worker.resume()
    else:
        children = psutil.Process(run_.pid).children()
        (tracker,) = [child for child in children if "resource_tracker" in " ".join(child.cmdline())]
        tracker.kill()
    (marks / "broken").unlink()
    _, error = run_.communicate(timeout=60)
    assert run_.returncode == 0, error


@pytest.mark.parametrize("seconds", [0, also(0.1), 0.3, also(0.6)])
def test_an_interrupt_while_the_workers_start_is_quiet_too(marks: Path, seconds: float) -> None:
    run_ = command(marks, "pair", "2")
    wait_for(lambda: len(psutil.Process(run_.pid).children()) == 2)  # resource tracker and fork server
    time.sleep(seconds)
    os.killpg(run_.pid, signal.SIGINT)
    _, error = run_.communicate(timeout=60)
    assert (run_.returncode, error) == (130, "error: interrupted; finished shards are kept\n")


@pytest.mark.parametrize("code", [0, 3, 130])
def test_exit_codes_reach_the_shell(marks: Path, code: int) -> None:
    ended = command(marks, "leave", str(code))
    ended.communicate(timeout=60)
    assert ended.returncode == code


class Tell(Work):
    """Two shards that write the value of an environment variable."""

    name: str

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return 2

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        write_text(out / f"{rank}.txt", os.environ.get(self.name, "-"))
        return Counts()


def test_workers_have_the_environment_of_their_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook, where a key is set after a first run."""
    told = []
    for number, value in enumerate(["first", "second", None]):
        if value is None:
            monkeypatch.delenv("WINDTUNNEL_TOLD")
        else:
            monkeypatch.setenv("WINDTUNNEL_TOLD", value)
        step = Step(StepName("tell", "x"), Tell(name="WINDTUNNEL_TOLD"))
        run([step], tmp_path / str(number), Where(workers=2))
        told += [(step.artifact(tmp_path / str(number)).path / f"{rank}.txt").read_text() for rank in (0, 1)]
    assert told == ["first", "first", "second", "second", "-", "-"]
