"""Ray and Slurm do what this machine's own workers do: the same bytes, the same errors, the same resume."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from tests.pipelines.test_run import plan, times_run
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import StepFailed, run
from windtunnel.pipelines.engine.step import Step
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import WindtunnelError
from windtunnel.schemas.work import Counts, Work

RECIPE = """\
question: Does it matter where tasks run?
store: {store}
corpora:
  raw: {{source: {{text: text/*.txt}}}}
  filtered: {{from: raw, rules: [gopher_repetition]}}
"""
TIMED = {"manifest.json"}  # holds times and costs
AWAY = [
    pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(180)]),
    pytest.param("slurm", marks=[pytest.mark.slurm, pytest.mark.timeout(180)]),
]


class Slow(Work):
    """Leaves its process number in `marks` and works for longer than anyone waits."""

    marks: str

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        (Path(self.marks) / "pid").write_text(str(os.getpid()))
        time.sleep(120)
        return Counts(seen=1, kept=1)


class Lost(Work):
    """Kills the parent of its process, which is Ray's worker; leaves a mark."""

    marks: str

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        with open(Path(self.marks) / "tries", "a") as mark:
            mark.write("x")
        print("a line of the log", flush=True)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
        return Counts()


ROOT = Path(__file__).parents[2]
SLOW_RUN = """\
from pathlib import Path
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import run
from windtunnel.pipelines.engine.step import Step
from tests.pipelines.test_remote_worker import Slow
run([Step("slow:x", Slow(marks="."))], Path("store"), Where({executor!r}, 1))
"""


def environment() -> dict[str, str]:
    """Return the environment of a process that imports this file; SLURM_CONF may have been set meanwhile."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / ".src")])}


@pytest.fixture
def where(request: pytest.FixtureRequest) -> Where:
    """Return two workers of the executor that the test names; arrays of two make Slurm send several for three tasks."""
    if request.param == "slurm":
        request.getfixturevalue("slurm")
        return Where("slurm", 2, {"partition": "short", "time": "5:00", "max_array_size": 2, "mem_per_cpu_gb": 1})
    pytest.importorskip("ray")
    return Where("ray", 2)


def files(store: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(store)): file.read_bytes()
        for file in sorted(store.rglob("*"))
        if file.is_file() and file.name not in TIMED and "counts" not in file.parts and not file.name.startswith(".")
    }


@pytest.mark.parametrize("where", AWAY, indirect=True)
def test_shards_fail_die_and_resume(tmp_path: Path, where: Where, capfd: pytest.CaptureFixture[str]) -> None:
    marks, store = tmp_path / "marks", tmp_path / "store"
    step = plan(tmp_path, bad="b", deadly="c")
    (marks / "broken").touch()
    with pytest.raises(StepFailed, match=r"letters:x, shard 1.*mend the pen \(1 more shards failed too\)") as failed:
        run([step], store, where)
    errors = Path(str(failed.value).rpartition(": ")[2]).parent
    assert "killed (SIGKILL)" in (errors / "00002.json").read_text()
    (marks / "broken").unlink()
    assert run([step], store, where).executed == ["letters:x", "joined:x"]
    assert [times_run(tmp_path, x) for x in "abc"] == [1, 2, 2]

    local = tmp_path / "local"
    run([step], local, Where(workers=2))
    assert len(files(local)) >= 4 and files(local) == files(store)
    assert run([step], store, where).executed == []
    if where.executor == "ray":
        import ray

        assert not ray.is_initialized()
    else:
        assert not subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout
    out, error = capfd.readouterr()
    assert out == "" and error == ""


@pytest.mark.parametrize("where", AWAY, indirect=True)
def test_the_command_line_gives_the_same_corpus(tmp_path: Path, where: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").mkdir()
    for number in range(12):
        lines = [f"The mill at the river had {number * 7 + line} sacks of grain in its store." for line in range(9)]
        (tmp_path / "text" / f"{number}.txt").write_text("\n".join(lines[: number % 9 + 1] * (1 + number % 3)))
    options = " ".join(f"{key}={value}" for key, value in where.options.items())
    monkeypatch.setenv("WINDTUNNEL_EXECUTOR_OPTIONS", options)
    stores = {}
    for executor in ("local", where.executor):
        recipe = tmp_path / f"{executor}.yaml"
        recipe.write_text(RECIPE.format(store=executor))
        command = [sys.executable, "-c", "from windtunnel.pipelines.cli import main; main()", "corpus", recipe.name]
        words = [*command, "--executor", executor, "--workers", "2"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "INFO" not in done.stderr and "ray" not in done.stderr.lower(), done.stderr
        stores[executor] = files(tmp_path / executor)
    assert any("dropped" in name for name in stores["local"])
    assert stores["local"] == stores[where.executor]


@pytest.mark.parametrize("where", AWAY, indirect=True)
def test_an_interrupted_run_leaves_nothing_at_work(tmp_path: Path, where: Where) -> None:
    run_process = subprocess.Popen(
        [sys.executable, "-c", SLOW_RUN.format(executor=where.executor)],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
    )
    pid = _number(tmp_path / "pid")
    assert psutil.pid_exists(pid)
    run_process.send_signal(signal.SIGINT)
    _, error = run_process.communicate(timeout=180)
    assert b"KeyboardInterrupt" in error
    until = time.monotonic() + 60
    while psutil.pid_exists(pid) and time.monotonic() < until:
        time.sleep(0.2)
    assert not psutil.pid_exists(pid)


@pytest.mark.slurm
def test_after_kill_9_the_same_run_takes_back_its_old_jobs(tmp_path: Path, slurm: Path) -> None:
    words = [sys.executable, "-c", SLOW_RUN.format(executor="slurm")]
    first = subprocess.Popen(words, cwd=tmp_path, env=environment())
    pid = _number(tmp_path / "pid")
    first.kill()
    first.wait()
    assert psutil.pid_exists(pid)
    (tmp_path / "pid").unlink()
    second = subprocess.Popen(words, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    try:
        assert _number(tmp_path / "pid") != pid and not psutil.pid_exists(pid)
    finally:
        second.send_signal(signal.SIGINT)
        second.wait(180)


def _number(file: Path) -> int:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        if file.exists() and (text := file.read_text()):
            return int(text)
        time.sleep(0.2)
    pytest.fail(f"no {file.name} within three minutes")


@pytest.mark.ray
def test_a_ray_of_the_callers_is_left_running_and_too_large_a_task_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 << 20)
    try:
        run([plan(tmp_path)], tmp_path / "store", Where("ray", 2))
        assert ray.is_initialized()
        with pytest.raises(WindtunnelError, match="no Ray node can take a task of 64 cores"):
            run([plan(tmp_path, letters="xy")], tmp_path / "store", Where("ray", 2, {"cpus_per_task": "64"}))
    finally:
        ray.shutdown()


@pytest.mark.ray
def test_a_task_whose_ray_worker_dies_is_tried_again_and_then_told_with_its_log(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(StepFailed, match=r"Ray lost the task's .* 4 times(?s:.*)a line of the log"):
        run([Step("lost:x", Lost(marks=str(tmp_path)))], tmp_path / "store", Where("ray", 2))
    assert (tmp_path / "tries").read_text() == "xxxx"


@pytest.mark.slurm
def test_slurm_refuses_and_its_words_reach_the_user(
    tmp_path: Path, slurm: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WindtunnelError, match="Slurm refused the job"):
        run([plan(tmp_path)], tmp_path / "store", Where("slurm", 2, {"partition": "long"}))
    assert "invalid partition specified: long" in capfd.readouterr().err
    with pytest.raises(WindtunnelError, match="PartitionTimeLimit"):
        run([plan(tmp_path)], tmp_path / "store", Where("slurm", 2, {"time": "9:00:00"}))
    assert not subprocess.run(["squeue", "-h"], capture_output=True, text=True).stdout


@pytest.mark.slurm
def test_a_job_that_slurm_ends_is_told_with_its_log(tmp_path: Path, slurm: Path) -> None:
    command = "echo the module system is down >&2; exit 3"
    with pytest.raises(StepFailed, match=r"Slurm ended the job in FAILED(?s:.*)module system is down"):
        run([plan(tmp_path)], tmp_path / "store", Where("slurm", 2, {"env_command": command}))


def test_without_slurms_commands_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(WindtunnelError, match="login node"):
        run([plan(tmp_path)], tmp_path / "store", Where("slurm", 2))
