"""The runner: skipping, resuming, failing, locking, killed workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import psutil
import pyarrow as pa
import pytest

from windtunnel.pipelines.engine import store as stores
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.integrity import Checks
from windtunnel.pipelines.engine.run import StepFailed, missing, run
from windtunnel.pipelines.engine.step import Step
from windtunnel.schemas.artifact import Artifact, write_text
from windtunnel.schemas.errors import InputError, WindtunnelError
from windtunnel.schemas.work import Counts, Work


class Letters(Work):
    """Writes one letter a shard; `bad` shards fail while the file `broken` exists; `deadly` kills its process."""

    letters: str = "abc"
    bad: str = ""
    deadly: str = ""
    marks: str

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(self.letters)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        letter = self.letters[rank]
        with open(Path(self.marks) / f"ran_{letter}", "a") as mark:
            mark.write("x")
        if letter in self.bad and (Path(self.marks) / "broken").exists():
            raise WindtunnelError(f"letter {letter} cannot be written: mend the pen")
        if letter in self.deadly and (Path(self.marks) / "broken").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        write_text(out / "letters" / f"{rank:05d}.txt", letter)
        return Counts(seen=2, kept=1, dropped={"second": 1})


class OnFullDisk(Letters):
    """Writes its bad letters to a device that is always full, while the file `broken` exists."""

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        if self.letters[rank] in self.bad and (Path(self.marks) / "broken").exists():
            with open("/dev/full", "wb") as device:
                device.write(b"x" * 100_000)
        return super().run(inputs, out, rank)


class Fills(Letters):
    """Takes every page that the store's file system has left, while the file `broken` exists."""

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        if (Path(self.marks) / "broken").exists():
            with open(out.parent.parent / "filler", "ab", buffering=0) as filler:
                while True:  # until OSError
                    filler.write(bytes(4096))
        return super().run(inputs, out, rank)


class Stuck(Letters):
    """Never ends while the file `broken` exists; forks a process, as data loaders do, if there is a file `fork`."""

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        counts = super().run(inputs, out, rank)
        if (Path(self.marks) / "fork").exists() and os.fork() == 0:
            time.sleep(120)
            os._exit(0)
        while (Path(self.marks) / "broken").exists():
            time.sleep(0.05)
        return counts


class Joined(Work):
    """Joins the letters of its input."""

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        text = "".join(f.read_text() for f in inputs["letters"].files("letters", ".txt"))
        write_text(out / "word.txt", text)
        return Counts(seen=1, kept=1)


class Pools(Work):
    """Writes how many threads polars and Arrow have in the worker."""

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return 3

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        write_text(out / f"{rank}.txt", f"{pl.thread_pool_size()} {pa.cpu_count()}")
        return Counts(seen=1, kept=1)


POOLS_ON_64_CORES = """
import os, sys
from pathlib import Path
os.cpu_count = lambda: 64
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import run
from tests.pipelines.test_run import Pools
step, store = Step("pools:x", Pools()), Path(sys.argv[1])
run([step], store, Where(workers=int(sys.argv[2])))
print({file.read_text() for file in step.artifact(store).path.glob("*.txt")}, os.environ.get("POLARS_MAX_THREADS"))
"""


@pytest.mark.parametrize(("workers", "threads"), [(16, 4), (64, 2)])
def test_workers_share_the_cores(tmp_path: Path, workers: int, threads: int) -> None:
    env = {name: value for name, value in os.environ.items() if name != "POLARS_MAX_THREADS"}
    words = [sys.executable, "-c", POOLS_ON_64_CORES, str(tmp_path / "store"), str(workers)]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1:] == [f"{{'{threads} {threads}'}} None"], done.stderr


def plan(tmp_path: Path, **fields: str) -> Step:
    (tmp_path / "marks").mkdir(exist_ok=True)
    letters = Step("letters:x", Letters(marks=str(tmp_path / "marks"), **fields))
    return Step("joined:x", Joined(), {"letters": letters})


def times_run(tmp_path: Path, letter: str) -> int:
    return len((tmp_path / "marks" / f"ran_{letter}").read_text())


@pytest.mark.parametrize("workers", [1, 2])
def test_runs_once_and_counts(tmp_path: Path, workers: int) -> None:
    step, store = plan(tmp_path), tmp_path / "store"
    assert run([step], store, Where(workers=workers)).executed == ["letters:x", "joined:x"]
    assert (step.artifact(store).path / "word.txt").read_text() == "abc"
    manifest = step.inputs["letters"].artifact(store).manifest
    assert manifest.counts["seen"] == 6 and manifest.counts["dropped"] == {"second": 3}
    assert run([step], store).executed == []
    assert not list(store.glob("*.partial"))


def test_intermediate_artifact_may_be_deleted(tmp_path: Path) -> None:
    step, store = plan(tmp_path), tmp_path / "store"
    run([step], store, Where(workers=1))
    (step.inputs["letters"].artifact(store).path / "manifest.json").unlink()
    assert missing([step], Checks(store).usable) == []


def test_a_failed_shard_keeps_the_others_and_names_the_step(tmp_path: Path) -> None:
    step, store = plan(tmp_path, bad="b"), tmp_path / "store"
    (tmp_path / "marks" / "broken").touch()
    with pytest.raises(StepFailed, match=r"letters:x, shard 1.*mend the pen"):
        run([step], store, Where(workers=2))
    (tmp_path / "marks" / "broken").unlink()
    run([step], store, Where(workers=2))
    assert [times_run(tmp_path, x) for x in "abc"] == [1, 2, 1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_said_and_the_finished_shards_stay(tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks" / "broken").touch()
    step, store = Step("letters:x", OnFullDisk(marks=str(tmp_path / "marks"), bad="b")), tmp_path / "store"
    with pytest.raises(StepFailed, match=r"letters:x, shard 1.*the disk is full.*free some space and run again"):
        run([step], store, Where(workers=1))
    (tmp_path / "marks" / "broken").unlink()
    run([step], store, Where(workers=1))
    assert [times_run(tmp_path, x) for x in "abc"] == [1, 1, 1]


FULL = """
import sys
from pathlib import Path
import windtunnel.pipelines.cli as cli
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import run
from tests.pipelines.test_run import Fills
def app(standalone_mode):
    run([Step("letters:x", Fills(marks=sys.argv[2]))], Path(sys.argv[1]), Where(workers=int(sys.argv[3])))
cli.app = app
cli.main()
"""


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_disk_without_a_free_page_is_said_too(tmp_path: Path, workers: int) -> None:
    small, marks = tmp_path / "small", tmp_path / "marks"
    small.mkdir()
    marks.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True)
    except FileNotFoundError:
        mounted = None
    if mounted is None or mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        (marks / "broken").touch()
        words = [sys.executable, "-c", FULL, str(small / "store"), str(marks), str(workers)]
        run_ = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200)
        last = run_.stderr.strip().splitlines()[-1]
        assert run_.returncode == 1 and "the disk is full" in last and "free some space and run again" in last, last
        assert "Traceback" not in run_.stderr
        (marks / "broken").unlink()
        (small / "filler").unlink()
        done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.parametrize("interrupt", [signal.default_int_handler, signal.SIG_IGN])  # as in a shell's background job
def test_a_killed_worker_is_an_error_not_a_hang(tmp_path: Path, interrupt) -> None:
    step, store = plan(tmp_path, deadly="c"), tmp_path / "store"
    (tmp_path / "marks" / "broken").touch()
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(WindtunnelError, match="killed from outside"):
            run([step], store, Where(workers=2))
    finally:
        signal.signal(signal.SIGINT, before)
    (tmp_path / "marks" / "broken").unlink()
    run([step], store, Where(workers=2))
    assert (step.artifact(store).path / "word.txt").read_text() == "abc"


def test_lost_records_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="3 records came in, 2 are accounted for"):
        Counts(seen=3, kept=1, dropped={"x": 1}).check("here")


def test_a_crash_between_rename_and_manifest_is_redone(tmp_path: Path) -> None:
    step, store = plan(tmp_path), tmp_path / "store"
    run([step], store, Where(workers=1))
    artifact = step.artifact(store)
    (artifact.path / "manifest.json").unlink()
    assert run([step], store, Where(workers=1)).executed == ["joined:x"]
    assert (artifact.path / "word.txt").read_text() == "abc"


def test_the_second_run_says_who_holds_the_store(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys,time\nfrom pathlib import Path\nfrom windtunnel.pipelines.engine.store import locked\n"
            f"with locked(Path({str(tmp_path)!r}), True, print):\n print('held', flush=True)\n time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(WindtunnelError, match=f"process {holder.pid} "), stores.locked(tmp_path, False, print):
            pass
        holder.send_signal(signal.SIGKILL)
        said: list[str] = []
        started = time.monotonic()
        with stores.locked(tmp_path, True, said.append):
            assert time.monotonic() - started < 50
    finally:
        holder.kill()
        holder.wait()


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


LEADER = """
import sys
from pathlib import Path
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import run
from tests.pipelines.test_run import Stuck
run([Step("letters:x", Stuck(marks=sys.argv[2]))], Path(sys.argv[1]), Where(workers=int(sys.argv[3])))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no kernel ends what a killed process forked")
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGKILL, 2), (signal.SIGTERM, 1)])
def test_the_lock_and_the_workers_go_with_the_leader(tmp_path: Path, number: signal.Signals, workers: int) -> None:
    marks, store = tmp_path / "marks", tmp_path / "store"
    marks.mkdir()
    (marks / "broken").touch()
    if workers == 1:
        (marks / "fork").touch()
    words = [sys.executable, "-c", LEADER, str(store), str(marks), str(workers)]
    leader = subprocess.Popen(words, cwd=Path(__file__).parents[2], start_new_session=True)
    try:
        until = time.monotonic() + 120
        left: list[int] = []
        while len(list(marks.glob("ran_*"))) < workers or not left:
            assert leader.poll() is None and time.monotonic() < until, "the leader never came to its shards"
            time.sleep(0.05)
            left = [process.pid for process in psutil.Process(leader.pid).children(recursive=True)]
        leader.send_signal(number)
        leader.wait()
        with stores.locked(store, False, print):
            pass
        while any(alive(pid) for pid in left):
            assert time.monotonic() < until, "processes of the killed run are still there"
            time.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader.pid, signal.SIGKILL)
    (marks / "broken").unlink()
    step = Step("letters:x", Stuck(marks=str(marks)))
    assert run([step], store, Where(workers=1), wait=False).executed == ["letters:x"]


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nope"])
def test_a_store_that_cannot_be_made_is_said(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"nothing can be written to the store .*--set store=DIR"):
        run([plan(tmp_path)], tmp_path / place, Where(workers=1))


def test_keys_follow_configuration_and_inputs(tmp_path: Path) -> None:
    one, same, other = plan(tmp_path), plan(tmp_path), plan(tmp_path, letters="abcd")
    assert one.key == same.key != other.key
    assert one.directory.startswith("joined.x-")
