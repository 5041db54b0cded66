"""train(): it learns, it resumes to the same bits, it says what went wrong, and others read what it writes."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import torch

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.results import RunResult
from windtunnel.trainer.loop import checkpoint
from windtunnel.trainer.loop.run import TrainRun
from windtunnel.trainer.loop.train import Stage, TrainingError, train

MODEL = {"llama": {"width": 32, "layers": 2, "heads": 2, "context": 32}}
WSD = {"wsd": {"warmup": 0.1, "decay": 0.2}}
OUTCOME = ("log.parquet", "scores.parquet", "realised.parquet", "model/model.safetensors", "model/config.json")


def stage(mix="both", seed=0, **objective):
    words = {"causal_lm": {"lr": 1e-2, "batch_tokens": 256, **objective}}
    return Stage.from_specs(mix, seed, MODEL, WSD, words)


def outcome(out: Path) -> dict[str, bytes]:
    result = json.loads((out / "result.json").read_text())
    rest = {key: value for key, value in result.items() if key not in RunResult.measured}
    return {**{name: (out / name).read_bytes() for name in OUTCOME}, "result": json.dumps(rest).encode()}


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """An uninterrupted run: its directory and result."""
    out = tmp_path_factory.mktemp("whole")
    return out, train(stage(), world.inputs(), out)


class Stop(Exception):
    """Stands for whatever ends a process in the middle."""


def stop_at(step):
    def report(done, steps, loss, rate):
        if done == step:
            raise Stop

    return report


def test_it_learns_and_says_what_it_did(world, whole):
    out, result = whole
    log = pl.read_parquet(out / "log.parquet")
    assert result.steps == len(log) == 32
    assert result.tokens == log["tokens"][-1] == 8192
    assert log["step"].to_list() == list(range(32))
    assert log["loss"][0] == pytest.approx(math.log(400), abs=0.4)
    assert result.final_loss < log["loss"][0] - 1
    realised = pl.read_parquet(out / "realised.parquet")
    assert realised["tokens"].sum() == 8192
    assert realised["bytes"].sum() == pytest.approx(result.bytes_trained, abs=4)
    scores = pl.read_parquet(out / "scores.parquet")
    assert len(scores) == result.held_out.documents == 9
    assert scores["nats"].sum() == pytest.approx(result.held_out.nats)
    assert set(result.domains) == {"tales", "notes"}
    assert 0.5 < result.held_out.bits_per_byte < 5
    assert not (out / checkpoint.NAME).exists()


def test_flops_and_parameters_by_hand(whole):
    _, result = whole
    width, ff, vocabulary, layers, context = 32, 96, 400, 2, 32
    body = layers * (4 * width * width + 3 * width * ff + 2 * width) + width
    assert result.parameters == body + vocabulary * width
    weights = 6 * (body + vocabulary * width)
    assert result.flops == pytest.approx(8192 * (weights + 6 * layers * width * context))
    assert result.flops_whole_attention == pytest.approx(8192 * (weights + 12 * layers * width * context))


@pytest.mark.parametrize("step", [1, 13, 31])
def test_an_interrupted_run_gives_the_same_bits(world, whole, tmp_path, step):
    with pytest.raises(Stop):
        train(stage(), world.inputs(), tmp_path, report=stop_at(step), checkpoint_steps=6)
    assert (tmp_path / checkpoint.NAME).exists() == (step > 6)
    seen = []
    train(stage(), world.inputs(), tmp_path, report=lambda done, *_: seen.append(done), checkpoint_steps=5)
    assert seen[0] == step - step % 6 + 1 if step > 6 else 1
    assert outcome(tmp_path) == outcome(whole[0])


def test_a_finished_stage_is_not_trained_again(world, whole):
    def never(*_):
        raise AssertionError("a step was taken")

    assert train(stage(), world.inputs(), whole[0], report=never) == whole[1]


def test_seeds_and_mixes_differ_and_share_their_start(world, whole, tmp_path):
    other = train(stage(seed=1), world.inputs(), tmp_path / "seed")
    mixed = train(stage(mix="wide"), world.inputs("wide"), tmp_path / "mix")
    losses = [
        pl.read_parquet(out / "log.parquet")["loss"].to_list()
        for out in (whole[0], tmp_path / "seed", tmp_path / "mix")
    ]
    assert other.held_out.nats != whole[1].held_out.nats != mixed.held_out.nats
    assert len({tuple(row) for row in losses}) == 3
    weights = [_first_weights(world, s) for s in (stage(), stage(mix="wide"), stage(seed=1))]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def _first_weights(world, which):
    from windtunnel.trainer.runtime.numerics import numerics

    with numerics(1, which.seed):
        return which.model.build(400, 0).get_input_embeddings().weight.detach().clone()


def test_micro_batches_add_up(world, whole, tmp_path):
    split = train(stage(micro_tokens=64), world.inputs(), tmp_path)
    a, b = (pl.read_parquet(out / "log.parquet") for out in (whole[0], tmp_path))
    assert a["loss"].to_list()[:8] == pytest.approx(b["loss"].to_list()[:8], rel=1e-4)
    assert split.held_out.nats == pytest.approx(whole[1].held_out.nats, rel=1e-2)


def test_a_loss_that_is_not_finite_names_step_rate_and_documents(world, tmp_path):
    with pytest.raises(TrainingError) as caught:
        train(stage(lr=1e30), world.inputs(), tmp_path)
    text = str(caught.value)
    assert "mix 'both', seed 0: at step 1 of 32 the loss is" in text
    assert "learning rate 6.67e+29" in text or "learning rate 1e+30" in text
    known = pl.concat([pl.read_parquet(f)["id"].to_frame() for f in world.artifact("tokens_wide").files("documents")])
    assert any(key in text for key in known["id"])
    assert not (tmp_path / "result.json").exists()


def test_a_checkpoint_of_another_configuration_is_refused(world, tmp_path):
    with pytest.raises(Stop):
        train(stage(), world.inputs(), tmp_path, report=stop_at(4), checkpoint_steps=2)
    with pytest.raises(InputError, match="another configuration"):
        train(stage(lr=2e-2), world.inputs(), tmp_path)


def test_global_switches_are_put_back(world, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with pytest.raises(Stop):
        train(stage(), world.inputs(), tmp_path, report=stop_at(2))
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    assert torch.equal(torch.rand(1), expected)


def test_transformers_reads_the_export(world, whole):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(whole[0] / "model", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(whole[0] / "model", local_files_only=True)
    text = pl.read_parquet(world.artifact("held_out").files("documents"))["text"][0]
    ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]])
    assert ids.shape[1] <= 33
    with torch.no_grad():
        nats = (
            model(input_ids=ids[:, :-1]).logits.double().log_softmax(-1)[0, torch.arange(ids.shape[1] - 1), ids[0, 1:]]
        )
    assert -nats.sum().item() == pytest.approx(pl.read_parquet(whole[0] / "scores.parquet")["nats"][0], rel=1e-5)
    assert model.config.eos_token_id == tokenizer.eos_token_id == 0


def test_stages_follow_one_another(world, tmp_path):
    words = {"causal_lm": {"lr": 1e-2, "batch_tokens": 256}}
    work = TrainRun(mix="both", seed=0, model=MODEL, schedule=WSD, stages=(words, words))
    counts = work.run(world.inputs(), tmp_path, 0)
    first = RunResult.model_validate_json((tmp_path / "stage0" / "result.json").read_bytes())
    second = RunResult.model_validate_json((tmp_path / "result.json").read_bytes())
    assert counts.tokens == 2 * 8192
    assert second.held_out.nats < first.held_out.nats
    before = outcome(tmp_path)
    (tmp_path / "result.json").unlink()
    work.run(world.inputs(), tmp_path, 0)
    assert outcome(tmp_path) == before


def test_the_versions_of_plugins_are_part_of_a_runs_identity(world, monkeypatch):
    work = TrainRun(mix="both", seed=0, model=MODEL, schedule=WSD, stages=({"causal_lm": {}},))
    before = work.identity()
    from windtunnel.trainer.objectives.causal_lm import CausalLM

    monkeypatch.setattr(CausalLM, "version", 99)
    assert work.identity() != before


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from windtunnel.schemas.artifact import Artifact
from windtunnel.trainer.loop.train import Stage, train
import json
job = json.loads(sys.argv[2])
inputs = {role: Artifact(Path(path)) for role, path in job["inputs"].items()}
stage = Stage.from_specs("both", 0, job["model"], job["schedule"], job["objective"])
def report(done, steps, *_):  # however late the kill comes, it finds the run at work
    time.sleep(0.05 if done < steps else 600)
train(stage, inputs, Path(job["out"]), report=report, checkpoint_steps=1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.0, 0.3, 0.7])
def test_kill_9_and_the_same_bits(world, whole, tmp_path, wait):
    job = {
        "inputs": {role: str(artifact.path) for role, artifact in world.inputs().items()},
        "model": MODEL,
        "schedule": WSD,
        "objective": {"causal_lm": {"lr": 1e-2, "batch_tokens": 256}},
        "out": str(tmp_path),
    }
    root = str(Path(__file__).parents[2] / ".src")
    child = subprocess.Popen([sys.executable, "-c", KILLED, root, json.dumps(job)])
    deadline = time.monotonic() + 120
    while not (tmp_path / checkpoint.NAME).exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(wait)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (tmp_path / "result.json").exists()
    seen = []
    train(stage(), world.inputs(), tmp_path, report=lambda done, *_: seen.append(done))
    assert seen[0] > 1
    assert outcome(tmp_path) == outcome(whole[0])
