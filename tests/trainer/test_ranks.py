"""One run in several processes: torchrun and gloo, the losses of one process, resumed by another number of ranks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch

from windtunnel.schemas.errors import InputError, WindtunnelError
from windtunnel.schemas.launch import Launch
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.loop import checkpoint
from windtunnel.trainer.loop.launch import SAID, _command, run_launched
from windtunnel.trainer.loop.ranks import Ranks, _buckets
from windtunnel.trainer.loop.run import TrainRun
from windtunnel.trainer.loop.train import Stage, TrainingError, train
from windtunnel.trainer.models._model import load

MODEL = {"llama": {"width": 32, "layers": 2, "heads": 2, "context": 32}}


def work(launch=None, **objective):
    spec = {"causal_lm": {"lr": 1e-2, "batch_tokens": 256, **objective}}
    return TrainRun(mix="both", seed=0, model=MODEL, schedule="constant", stages=(spec,), launch=launch)


def log(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "log.parquet")


@pytest.fixture(scope="module")
def alone(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    work().run(world.inputs(), out, 0)
    return out


BOTH = ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)]  # processes take seconds to start


@pytest.mark.parametrize("shard", BOTH)
def test_two_processes_learn_what_one_does(world, alone, tmp_path, shard):
    counts = work(Launch(gpus=2, shard=shard)).run(world.inputs(), tmp_path, 0)
    assert counts.notes["processes"] == f"1 x 2, {shard}"
    one, two = log(alone), log(tmp_path)
    assert two["tokens"].to_list() == one["tokens"].to_list()
    for column in ("loss", "grad_norm"):
        assert two[column].to_list() == pytest.approx(one[column].to_list(), rel=2e-3)
    assert two["loss"].to_list()[:4] == pytest.approx(one["loss"].to_list()[:4], rel=1e-5)
    a, b = (pl.read_parquet(out / "scores.parquet")["nats"].sum() for out in (alone, tmp_path))
    assert b == pytest.approx(a, rel=1e-3)
    for name, weight in load(tmp_path / "model").state_dict().items():
        torch.testing.assert_close(weight, load(alone / "model").state_dict()[name], atol=5e-3, rtol=0.05)
    assert not list(tmp_path.glob(".*"))


RANK = """
import json, os, signal, sys
from pathlib import Path
from windtunnel.schemas.artifact import Artifact
from windtunnel.trainer.loop import loop
from windtunnel.trainer.loop.ranks import joined
from windtunnel.trainer.loop.train import Stage, TrainingError, train

job = json.loads(sys.argv[1])
ranks, take = joined("cpu", job["shard"]), loop.Loop.take

def taken(self, step, batches):
    if ranks.rank == 1 and step == job["killed_at"]:
        os.kill(os.getpid(), signal.SIGKILL)
    take(self, step, batches)

loop.Loop.take = taken
stage = Stage.from_specs("both", 0, job["model"], {"constant": {}}, job["objective"])
inputs = {role: Artifact(Path(path)) for role, path in job["inputs"].items()}
train(stage, inputs, Path(job["out"]), checkpoint_steps=4, ranks=ranks)
"""


def torchrun(world, out, number, shard="ddp", killed_at=-1):
    script = out.parent / "rank.py"
    script.write_text(RANK)
    inputs = {role: str(artifact.path) for role, artifact in world.inputs().items()}
    job = {"shard": shard, "killed_at": killed_at, "model": MODEL, "objective": work().stages[0], "inputs": inputs}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"]
    done = subprocess.run(
        [*command, str(script), json.dumps({**job, "out": str(out)})], capture_output=True, timeout=180
    )
    return done.returncode


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
def test_a_killed_rank_ends_the_run_which_goes_on_to_the_same_bits(world, tmp_path, shard):
    (tmp_path / "whole").mkdir()
    whole, cut = tmp_path / "whole" / "run", tmp_path / "cut"
    assert torchrun(world, whole, 2, shard) == 0
    assert torchrun(world, cut, 2, shard, killed_at=13) != 0
    assert checkpoint.head(cut)["step"] == 12 and not (cut / "result.json").exists()
    assert torchrun(world, cut, 2, shard) == 0
    assert log(cut).equals(log(whole))
    names = ("model/model.safetensors", "scores.parquet")
    assert all((cut / name).read_bytes() == (whole / name).read_bytes() for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
def test_another_number_of_ranks_goes_on(world, alone, tmp_path, shard):
    assert torchrun(world, tmp_path / "run", 2, shard, killed_at=20) != 0
    stage = Stage.from_specs("both", 0, MODEL, {"constant": {}}, work().stages[0])
    result = train(stage, world.inputs(), tmp_path / "run")
    assert log(tmp_path / "run")["loss"].to_list() == pytest.approx(log(alone)["loss"].to_list(), rel=2e-3)
    assert result.steps == 32


def test_micro_batches_are_dealt_out_and_ranks_without_one_count_nothing():
    batches = [Batch({}, k, ()) for k in range(5)]
    dealt = [Ranks(rank, 3).mine(batches) for rank in range(3)]
    assert [[(b.tokens, factor) for b, factor in mine] for mine in dealt] == [
        [(0, 1.0), (3, 1.0)],
        [(1, 1.0), (4, 1.0)],
        [(2, 1.0), (0, 0.0)],
    ]
    assert Ranks().mine(batches) == [(batch, 1.0) for batch in batches]


def test_gradients_travel_in_messages_of_a_bounded_size(monkeypatch):
    monkeypatch.setattr("windtunnel.trainer.loop.ranks.BUCKET", 4 * 10)
    sizes = [4, 4, 4, 30, 1]
    assert [[len(g) for g in b] for b in _buckets([torch.zeros(n) for n in sizes])] == [[4, 4], [4], [30], [1]]


def test_what_is_started(tmp_path, monkeypatch):
    one = _command(Launch(gpus=4), tmp_path / "job")
    assert one[1:6] == ["-m", "torch.distributed.run", "--nproc-per-node=4", "--standalone", "-m"]
    with pytest.raises(WindtunnelError, match="needs a SLURM job"):
        _command(Launch(nodes=2, gpus=8), tmp_path / "job")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "a[1-2]")
    answer = subprocess.CompletedProcess([], 0, "a1\na2\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **more: answer)
    several = _command(Launch(nodes=2, gpus=8), tmp_path / "job")
    assert several[:3] == ["srun", "--nodes=2", "--ntasks-per-node=1"]
    assert "--nnodes=2" in several and "--rdzv-endpoint=a1:29500" in several


@pytest.mark.parametrize("diverged", [True, False])
def test_a_run_that_diverged_is_told_from_one_that_failed(tmp_path, monkeypatch, diverged):
    def ended(command, log):
        (tmp_path / SAID).write_text(json.dumps({"error": "at step 3", "diverged": diverged}))
        return ""

    monkeypatch.setattr("windtunnel.trainer.loop.launch._run", ended)
    with pytest.raises(WindtunnelError, match="at step 3") as caught:
        run_launched(work(), Launch(gpus=2), {}, tmp_path)
    assert isinstance(caught.value, TrainingError) == diverged


@pytest.mark.slow
def test_errors_of_the_processes_are_those_of_the_run(world, tmp_path):
    with pytest.raises(WindtunnelError, match="a budget of 8,192 tokens is less than one step of 16,384"):
        work(Launch(gpus=2), batch_tokens=16_384).run(world.inputs(), tmp_path, 0)
    assert not list(tmp_path.glob(".*"))


def test_the_number_of_processes_is_no_part_of_the_key():
    assert work(Launch(gpus=2)).identity() == work().identity()
    assert work(batch_tokens=512).identity() != work().identity()


def test_more_processes_than_cores_are_refused(world, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    with pytest.raises(InputError, match="5 processes a node, and this machine has 4 cores"):
        work(Launch(gpus=5)).run(world.inputs(), tmp_path, 0)
