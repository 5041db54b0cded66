"""Where models are trained and asked: what `auto` means, what a missing GPU says, what moves to the device."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest
import torch

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.eval.answers import Answers
from windtunnel.trainer.eval.replies import Replier
from windtunnel.trainer.eval.task_scores import TaskScores
from windtunnel.trainer.loop.optim import Optimiser
from windtunnel.trainer.loop.run import TrainRun
from windtunnel.trainer.modules.export import export
from windtunnel.trainer.runtime import device
from windtunnel.trainer.runtime.numerics import numerics


@pytest.fixture
def gpu(monkeypatch):
    """A function that says whether there is a driver, and whether torch can use it."""

    def there(driver: bool, usable: bool) -> None:
        monkeypatch.setattr(device, "_driver", lambda: driver)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)

    return there


@pytest.mark.parametrize(
    ("driver", "usable", "found"), [(True, True, "cuda"), (True, False, "cpu"), (False, False, "cpu")]
)
def test_auto_is_a_gpu_where_torch_can_use_one(gpu, driver, usable, found):
    gpu(driver, usable)
    assert device.resolve("auto") == found
    assert (device.resolve("cpu"), device.resolve("cuda")) == ("cpu", "cuda")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems show no driver in /dev")
def test_without_a_driver_torch_is_not_asked(monkeypatch):
    def asked():
        raise AssertionError("torch would have been imported")

    monkeypatch.setattr(device, "DRIVERS", ("/nowhere/nvidiactl",))
    monkeypatch.setattr(device, "_available", asked)
    assert device.resolve("auto") == "cpu"


def test_a_gpu_that_is_not_there_is_an_error_with_a_way_out(gpu, chat_inputs, as_artifact, tmp_path):
    gpu(False, False)
    works = [
        TrainRun(mix="m", seed=0, model={"llama": {"context": 64}}, stages=("sft",), device="cuda"),
        Answers(device="cuda"),
        TaskScores(device="cuda"),
    ]
    (tmp_path / "run").mkdir()
    (tmp_path / "documents").mkdir()
    inputs = {
        **chat_inputs,
        "run": as_artifact(tmp_path / "run"),
        "questions": chat_inputs["held_out_conversations"],
        "documents": as_artifact(tmp_path / "documents"),
    }
    for work in works:
        with pytest.raises(InputError, match=r"`device: cuda` was asked for.*finds no GPU.*train\.device=cpu"):
            work.run(inputs, tmp_path / "out", 0)


def test_deterministic_work_on_a_gpu_is_made_possible(gpu, monkeypatch):
    gpu(True, True)
    monkeypatch.setenv(device.CUBLAS, "")  # so that what is set below is taken back after the test
    monkeypatch.delenv(device.CUBLAS)
    with numerics(1, 0, "cpu"):
        assert device.CUBLAS not in os.environ
    with numerics(1, 0, "cuda"):
        assert os.environ[device.CUBLAS] == ":4096:8"


def test_the_device_is_part_of_what_is_hashed():
    for make in (Answers, TaskScores, lambda **more: TrainRun(mix="m", seed=0, stages=("sft",), **more)):
        assert make(device="cpu").identity() == make().identity() != make(device="cuda").identity()


def test_the_model_that_replies_moves_to_the_device(tiny_llama, chat_tokenizer, tmp_path, monkeypatch):
    export(tiny_llama, chat_tokenizer, tmp_path / "model")
    assert Replier(tmp_path / "model", 64).model.device.type == "cpu"
    replier = Replier(tmp_path / "model", 64, "meta")
    assert {p.device.type for p in replier.model.parameters()} == {"meta"}
    given = []

    def generate(**inputs):
        given.append({name: v.device.type for name, v in inputs.items() if isinstance(v, torch.Tensor)})
        return torch.cat([inputs["input_ids"].new_zeros(inputs["input_ids"].shape, device="cpu")] * 2, dim=1)

    monkeypatch.setattr(replier.model, "generate", generate)
    replier.free_replies(["What?"], 4)
    assert given == [{"input_ids": "meta", "attention_mask": "meta"}]


def test_a_run_that_goes_on_takes_its_moments_to_the_device():
    weight = torch.nn.Parameter(torch.zeros(2, device="meta"))
    optimiser = Optimiser.__new__(Optimiser)
    part = SimpleNamespace(state={}, param_groups=[{"params": [weight]}])
    optimiser.parameters, optimiser.parts = {"w": weight}, [part]  # pyright: ignore
    optimiser.load({"w/exp_avg": torch.zeros(2), "w/step": torch.zeros(())})
    assert {v.device.type for v in part.state[weight].values()} == {"meta"}
