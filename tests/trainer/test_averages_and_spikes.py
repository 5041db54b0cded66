"""Averages of the weights in place of the last ones, and steps that are left out for their gradients."""

from __future__ import annotations

import json
import math

import polars as pl
import pytest
import torch

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.results import RunResult
from windtunnel.trainer.loop import loop as loops
from windtunnel.trainer.loop.run import TrainRun
from windtunnel.trainer.loop.spikes import FILE, limit, too_many, write_spike
from windtunnel.trainer.loop.train import Stage, TrainingError, train
from windtunnel.trainer.models._model import load
from windtunnel.trainer.optimizers._average import Average

SIZES = {"width": 32, "layers": 2, "heads": 2, "context": 32}


def stage(**objective):
    spec = {"causal_lm": {"lr": 1e-2, "batch_tokens": 256, **objective}}
    return Stage.from_specs("both", 0, {"llama": SIZES}, {"constant": {}}, spec)


@pytest.fixture
def weights(monkeypatch):
    """The weights after every step, of the runs that follow."""
    seen, take = [], loops.Loop.take

    def taken(self, step, batches):
        take(self, step, batches)
        seen.append({name: p.detach().double().clone() for name, p in self.optimiser.parameters.items()})

    monkeypatch.setattr(loops.Loop, "take", taken)
    return seen


@pytest.mark.parametrize("average", [{"ema": 0.9}, {"last": 0.25}])
def test_what_is_exported_is_the_average(world, tmp_path, weights, average):
    train(stage(average=average), world.inputs(), tmp_path)
    if "last" in average:
        expected = {name: sum(w[name] for w in weights[-8:]) / 8 for name in weights[0]}
    else:
        expected = weights[0]
        for step, now in enumerate(weights[1:], start=1):
            share = 1 - min(0.9, (1 + step) / (10 + step))
            expected = {name: (1 - share) * old + share * now[name] for name, old in expected.items()}
    exported = dict(load(tmp_path / "model").named_parameters())
    assert len(exported) == len(expected)
    for name, value in expected.items():
        torch.testing.assert_close(exported[name].double(), value, rtol=1e-4, atol=1e-6)


def test_an_average_changes_no_step_and_survives_an_interruption(world, tmp_path):
    plain = train(stage(), world.inputs(), tmp_path / "plain")
    whole = train(stage(average={"last": 0.5}), world.inputs(), tmp_path / "whole")
    a, b = (pl.read_parquet(tmp_path / name / "log.parquet") for name in ("plain", "whole"))
    assert a.equals(b) and whole.held_out != plain.held_out

    class Stop(Exception):
        pass

    def stop(step, *_):
        if step == 25:
            raise Stop

    with pytest.raises(Stop):
        train(stage(average={"last": 0.5}), world.inputs(), tmp_path / "cut", report=stop, checkpoint_steps=6)
    again = train(stage(average={"last": 0.5}), world.inputs(), tmp_path / "cut")
    assert again.held_out == whole.held_out


@pytest.mark.parametrize("wrong", [{}, {"ema": 0.9, "last": 0.1}, {"ema": 1.0}, {"last": 0}])
def test_an_average_is_one_of_two(wrong):
    with pytest.raises(RecipeError):
        stage(average=wrong)


def test_the_share_of_the_last_steps():
    assert [Average(last=0.5).share(step, 6) for step in range(6)] == [0, 0, 0, 1, 1 / 2, 1 / 3]
    assert Average(last=0.01).share(5, 6) == 1  # of few steps, the last one at least


def spoil(monkeypatch, step, factor, steps=1):
    """Multiply the gradients of a step, or of several."""
    update = loops.Optimiser.step

    def spoilt(self, lr, normaliser, most=None):
        self.taken = getattr(self, "taken", -1) + 1
        if step <= self.taken < step + steps:
            for p in self.parameters.values():
                p.grad.mul_(factor)
        return update(self, lr, normaliser, most)

    monkeypatch.setattr(loops.Optimiser, "step", spoilt)


@pytest.mark.parametrize("factor", [100.0, math.nan])
def test_a_spike_is_left_out_and_written_down(world, tmp_path, monkeypatch, weights, factor):
    spoil(monkeypatch, 20, factor)
    result = train(stage(skip_spikes=5), world.inputs(), tmp_path)
    log = pl.read_parquet(tmp_path / "log.parquet")
    assert log.filter(pl.col("skipped") > 0)["step"].to_list() == [20]
    assert all(torch.equal(weights[20][name], weights[19][name]) for name in weights[0])
    (line,) = map(json.loads, (tmp_path / FILE).read_text().splitlines())
    assert line["step"] == 20 and line["documents"] and line["grad_norm"] != 1
    assert result.steps == 32 and math.isfinite(result.final_loss)


def test_a_run_that_stops_writes_down_its_batch_too(world, tmp_path, monkeypatch):
    spoil(monkeypatch, 3, math.nan)
    with pytest.raises(TrainingError, match="at step 3"):
        train(stage(), world.inputs(), tmp_path)
    (line,) = map(json.loads, (tmp_path / FILE).read_text().splitlines())
    assert line["step"] == 3 and line["grad_norm"] == "nan" and line["documents"]


def test_nan_at_the_first_step(world, tmp_path, monkeypatch):
    spoil(monkeypatch, 0, math.inf)
    with pytest.raises(TrainingError, match="at step 0 of 32"):
        train(stage(), world.inputs(), tmp_path)


def test_gradients_that_stay_without_a_number_stop_the_run(world, tmp_path, monkeypatch):
    spoil(monkeypatch, 1, math.nan, steps=31)
    with pytest.raises(
        TrainingError, match=r"at step 16 of 32 .* after 16 steps that `skip_spikes` left out.* documents"
    ):
        train(stage(skip_spikes=5), world.inputs(), tmp_path)


@pytest.mark.parametrize(("steps", "many"), [(0, False), (1, False), (2, True)])
def test_a_run_says_how_many_steps_it_left_out(world, tmp_path, monkeypatch, steps, many):
    spoil(monkeypatch, 3, math.nan, steps)
    spec = {"causal_lm": {"lr": 1e-2, "batch_tokens": 256, "skip_spikes": 5}}
    work = TrainRun(mix="both", seed=0, model={"llama": SIZES}, schedule="constant", stages=(spec,))
    notes = work.run(world.inputs(), tmp_path, 0).notes
    assert notes.get("steps_left_out") == (f"{steps} of 32" if steps else None)
    assert RunResult.model_validate_json((tmp_path / "result.json").read_bytes()).skipped_steps == steps
    assert ("many_left_out" in notes) == many


def test_what_counts_as_a_spike():
    columns = {"grad_norm": [1.0] * 9, "skipped": [0.0] * 9}
    assert limit(columns, 3) == math.inf  # too few to tell
    columns = {"grad_norm": [1.0] * 12 + [50.0], "skipped": [0.0] * 12 + [1.0]}
    assert limit(columns, 3) == 3.0
    assert not too_many(columns, 100)
    assert too_many({"grad_norm": [1.0] * 40, "skipped": [0.0] * 19 + [1.0] * 21}, 100)
    assert not too_many({"grad_norm": [1.0] + [math.nan] * 19, "skipped": [0.0] + [1.0] * 19}, 100)
    assert too_many({"grad_norm": [math.nan] * 20, "skipped": [1.0] * 20}, 100)
    assert too_many({"grad_norm": [1.0] + [math.nan] * 8, "skipped": [0.0] + [1.0] * 8}, 15)  # of a short run
    for steps, late in ((16, 2), (100, 5)):
        columns = {
            "grad_norm": [1.0] * (steps - late) + [math.nan] * late,
            "skipped": [0.0] * (steps - late) + [1.0] * late,
        }
        assert too_many(columns, steps) and not too_many(columns, steps + 9)


def test_what_an_interrupted_run_wrote_later_goes(tmp_path):
    for step in (3, 9, 5):
        write_spike(tmp_path, step, {"loss": 1.0, "grad_norm": math.inf}, ["a"])
    assert [json.loads(line)["step"] for line in (tmp_path / FILE).read_text().splitlines()] == [3, 5]


def test_an_infinite_gradient_is_left_out_before_there_is_a_median(world, tmp_path, monkeypatch):
    spoil(monkeypatch, 2, math.inf)
    train(stage(skip_spikes=5), world.inputs(), tmp_path)
    assert pl.read_parquet(tmp_path / "log.parquet").filter(pl.col("skipped") > 0)["step"].to_list() == [2]
