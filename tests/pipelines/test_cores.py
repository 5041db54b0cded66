"""Training of several threads beside other training: no more runs at once than the machine has cores for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from windtunnel.pipelines.engine.executors import local
from windtunnel.pipelines.engine.tasks import task
from windtunnel.pipelines.engine.tasks.task import Task
from windtunnel.schemas.launch import Launch
from windtunnel.trainer.loop.run import TrainRun


@pytest.mark.parametrize(
    ("cores", "tasks", "workers", "processes"),
    [(8, [1, 1, 1], 16, 3), (8, [2, 2, 2, 2, 2], 8, 4), (2, [2, 2], 2, 1), (8, [3, 1, 1], 8, 2), (2, [1, 1, 1], 3, 3)],
)
def test_processes_are_as_many_as_there_are_cores_for(monkeypatch, tmp_path, cores, tasks, workers, processes):
    asked = []
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(local, "_start_fork_server", lambda log: None)
    monkeypatch.setattr(local, "_check_main", lambda: None)
    monkeypatch.setattr(local, "_run_pool", lambda context, stage, number: asked.append(number))
    monkeypatch.setattr(local, "do", lambda task: asked.append(1))
    monkeypatch.setenv(local.WAITING, "")
    monkeypatch.delenv(local.WAITING)
    made = [Task("s", "m:C", "{}", {}, str(tmp_path), rank, cores=need) for rank, need in enumerate(tasks)]
    local.run(made, workers, local.Options(), tmp_path)
    assert set(asked) == {processes}
    assert os.environ[local.WAITING] == "passive"  # threads that wait do not keep a core from others


def test_what_a_run_keeps_busy():
    def cores(**fields):
        return TrainRun(mix="m", seed=0, stages=("causal_lm",), **fields).cores

    assert (cores(), cores(threads=2), cores(threads=2, launch=Launch(gpus=2))) == (1, 2, 4)
    assert cores(threads=4, device="cuda") == 1


def test_what_other_processes_took_is_counted_too():
    before = task._cpu_seconds()
    subprocess.run([sys.executable, "-c", "sum(i * i for i in range(3_000_000))"], check=True)
    assert task._cpu_seconds() - before > 0.1
