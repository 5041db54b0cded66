"""Deltas in the training loop and on reward models; what holds for every delta by itself is checked by its examples."""

from __future__ import annotations

import copy

import polars as pl
import pytest
import torch
from torch import nn

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import make, names
from windtunnel.trainer.deltas._delta import Delta
from windtunnel.trainer.deltas.sora import Sora
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.modules.hooked import NAME

SPECS = {
    "full": {"full": {}},
    "lora": {"lora": {"rank": 4}},
    "dora": {"lora": {"rank": 2, "dora": True}},
    "ia3": {"ia3": {}},
    "bitfit": {"bitfit": {}},
    "adapter": {"adapter": {"width": 4, "places": "houlsby"}},
    "parallel_adapter": {"parallel_adapter": {"width": 4}},
    "sora": {"sora": {"rank": 4}},
    "prefix": {"prefix": {"length": 3}},
    "prompt": {"prompt": {"length": 3}},
}
IDS = torch.arange(3, 40).view(1, -1)


def shaken(delta, model):
    """The model with its delta moved away from where it began."""
    model = delta.apply(model)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in delta.trainable(model).values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(input_ids=IDS).logits[:, -IDS.shape[1] :]


def test_every_delta_is_tried_here():
    assert {name for spec in SPECS.values() for name in spec} == set(names("delta"))


@pytest.mark.parametrize("name", sorted(set(SPECS) - {"full"}))
def test_the_loop_trains_it_and_keeps_it_apart(name, chat_inputs, tmp_path):
    model = {"llama": {"width": 32, "layers": 2, "heads": 2, "ff": 64, "context": 128, "init_std": 0.1}}
    spec = {"sft": {"lr": 2e-2, "batch_tokens": 64, "epochs": 2, "delta": SPECS[name]}}
    stage = Stage.from_specs("mix", 0, model, {"constant": {}}, spec)
    train(stage, chat_inputs, tmp_path / "run")
    log = pl.read_parquet(tmp_path / "run" / "log.parquet")
    assert log["loss"][-3:].mean() < log["loss"][0]
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    assert list((tmp_path / "run" / "delta").glob("*.safetensors"))


def test_lora_of_a_reward_model_trains_the_head_and_merges(chat_inputs, tmp_path):
    from transformers import AutoModelForSequenceClassification

    model = {"llama": {"width": 32, "layers": 2, "heads": 2, "ff": 64, "context": 128, "init_std": 0.1}}
    spec = {"reward": {"lr": 1e-2, "batch_tokens": 64, "epochs": 3, "delta": {"lora": {"rank": 4}}}}
    result = train(Stage.from_specs("mix", 0, model, {"constant": {}}, spec), chat_inputs, tmp_path / "run")
    assert result.metrics["preference_accuracy"] > 0.8
    back = AutoModelForSequenceClassification.from_pretrained(str(tmp_path / "run" / "model"))
    assert not [n for n, _ in back.named_parameters() if "lora" in n]


def test_gates_are_soft_thresholded_and_reach_zero(tiny_llama):
    delta = Sora(rank=4, threshold=0.1)
    model = delta.apply(tiny_llama)
    gates = [m.delta.gate for m in model.modules() if isinstance(getattr(m, NAME, None), nn.Module)]
    with torch.no_grad():
        for gate in gates:
            gate.copy_(torch.tensor([0.05, -0.05, 0.15, -0.3]))
    delta.after_step(model, 0)
    for gate in gates:
        torch.testing.assert_close(gate.detach(), torch.tensor([0.0, 0.0, 0.05, -0.2]))
    Sora(rank=4, threshold=0.1, ramp_steps=4).after_step(model, 0)
    torch.testing.assert_close(gates[0].detach(), torch.tensor([0.0, 0.0, 0.025, -0.175]))


def test_sora_is_served_as_a_lora_adapter(tiny_llama, tmp_path):
    from peft import PeftModel

    base = copy.deepcopy(tiny_llama)
    delta = Sora(rank=4, threshold=0.1)
    model = shaken(delta, tiny_llama)
    delta.save(model, tmp_path)
    torch.testing.assert_close(logits(PeftModel.from_pretrained(base, str(tmp_path / "lora"))), logits(model))


@pytest.mark.parametrize("name", ["lora", "ia3", "prompt", "sora"])
def test_what_is_written_does_not_tell_where_the_base_was(name, tiny_llama, tmp_path):
    delta = make(Delta, SPECS[name])
    tiny_llama.name_or_path = "/somewhere/model"
    (tmp_path / "delta").mkdir()
    delta.save(delta.apply(tiny_llama), tmp_path / "delta")
    assert not [f for f in (tmp_path / "delta").rglob("*") if f.is_file() and b"/somewhere" in f.read_bytes()]


def test_a_delta_of_other_sizes_is_refused(tiny_llama, tmp_path):
    base = copy.deepcopy(tiny_llama)
    delta = Sora(rank=4)
    delta.save(delta.apply(tiny_llama), tmp_path)
    with pytest.raises(InputError, match="does not fit"):
        Sora(rank=2).attach(base, tmp_path)


def test_unknown_layers_are_named(tiny_llama):
    with pytest.raises(InputError, match="did you mean 'q_proj'"):
        Sora(targets=["q_prok"]).apply(tiny_llama)
