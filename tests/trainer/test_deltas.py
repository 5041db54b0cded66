"""Deltas in the training loop and on reward models; what holds for every delta by itself is checked by its examples."""

from __future__ import annotations

import copy
import json
import re

import polars as pl
import pytest
import torch
from torch import nn

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.plugin import find, make, names
from windtunnel.trainer.deltas._delta import Delta
from windtunnel.trainer.deltas._sized import SizedDelta
from windtunnel.trainer.deltas.lora import Lora
from windtunnel.trainer.deltas.sora import Sora
from windtunnel.trainer.deltas.vera import Vera
from windtunnel.trainer.loop.loop import Loop
from windtunnel.trainer.loop.run import TrainRun
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.models.llama import Llama
from windtunnel.trainer.modules.hooked import NAME

SPECS = {
    "full": {"full": {}},
    "lora": {"lora": {"rank": 4}},
    "dora": {"dora": {"rank": 2}},
    "vera": {"vera": {"rank": 16}},
    "ia3": {"ia3": {}},
    "bitfit": {"bitfit": {}},
    "adapter": {"adapter": {"width": 4, "places": "houlsby"}},
    "parallel_adapter": {"parallel_adapter": {"width": 4}},
    "sora": {"sora": {"rank": 4}},
    "prefix": {"prefix": {"length": 3}},
    "prompt": {"prompt": {"length": 3}},
    "p_tuning": {"p_tuning": {"length": 3, "hidden": 8}},
    "ladder": {"ladder": {"width": 8}},
    "peft": {"peft": {"method": "LoHa", "params": {"r": 2}}},
}
LLAMA = {"llama": {"width": 32, "layers": 2, "heads": 2, "ff": 64, "context": 128, "init_std": 0.1}}
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


@pytest.mark.parametrize(
    "spec",
    [
        {"sora": {"targets": ["q_prj"]}},
        {"lora": {"targets": ["q_prj"]}},
        {"lora": {"targets": "q_prj"}},
        {"dora": {"targets": ["v_proj", "q_prj"]}},
        {"vera": {"targets": ["q_prj"]}},
        {"ia3": {"targets": ["q_prj"], "feed_forward": []}},
        {"ia3": {"targets": ["q_prj"], "feed_forward": ["q_prj"]}},
        {"peft": {"method": "LoHa", "params": {"target_modules": ["q_prj"]}}},
    ],
)
def test_layers_that_are_not_there_are_named_before_training(spec, chat_inputs, tmp_path):
    stage = Stage.from_specs("mix", 0, LLAMA, {"constant": {}}, {"sft": {"delta": spec}})
    with pytest.raises(InputError, match=r"no layer of the model is called 'q_prj': did you mean 'q_proj'\?"):
        Loop(stage, chat_inputs, tmp_path / "run", "x", None)


@pytest.mark.parametrize("params", [{"rank": 4}, {"share": 0.05}])
def test_a_model_without_layers_for_a_delta_is_refused(params, chat_inputs, tmp_path):
    model = {"gpt2": {"width": 32, "layers": 2, "heads": 2, "context": 64}}  # its layers are no `Linear`
    stage = Stage.from_specs("mix", 0, model, {"constant": {}}, {"sft": {"delta": {"sora": params}}})
    with pytest.raises(InputError, match=r"finds no layer in GPT2LMHeadModel|trains 0"):
        Loop(stage, chat_inputs, tmp_path / "run", "x", None)


def test_layers_are_found_by_the_ends_of_their_names_and_by_expressions(tiny_llama):
    for targets in (["q_proj"], ["self_attn.q_proj"], r".*layers\.0.*q_proj"):
        assert Lora(rank=2, targets=targets).trainable(Lora(rank=2, targets=targets).apply(copy.deepcopy(tiny_llama)))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"peft": {"method": "LoHaa"}}, "peft has no method 'LoHaa': did you mean 'LoHa'"),
        ({"peft": "PrefixTuning"}, "use the delta `prefix`"),
        ({"peft": "Lily"}, "peft cannot merge it"),
        ({"peft": "Shadow"}, "peft cannot merge it"),
        ({"peft": "CPT"}, "prefix, prompt, p_tuning"),
        ({"peft": "AdaLora"}, "use `sora`"),
        ({"peft": {"method": "LoHa", "params": {"rr": 2}}}, "LoHaConfig has no parameter 'rr'"),
        ({"peft": {"method": "LoHa", "params": {"task_type": "X"}}}, "set by the trainer"),
    ],
)
def test_what_of_peft_does_not_fit_is_refused_by_name(spec, message):
    with pytest.raises(RecipeError, match=message):
        make(Delta, spec)


def test_values_that_peft_refuses_are_input_errors(tiny_llama):
    with pytest.raises(InputError, match=r"peft: .*block size"):
        make(Delta, {"peft": {"method": "C3A", "params": {"block_size": 7}}}).apply(tiny_llama)


def test_every_delta_states_what_it_changes():
    for name in names("delta"):
        (change,) = find(Delta, name).facts()["change"]
        assert set(change) == {"where", "form", "composition", "function"} and all(change.values())


SHARES = [name for name in SPECS if issubclass(find(Delta, next(iter(SPECS[name]))), SizedDelta)]


@pytest.mark.parametrize("name", SHARES)
def test_a_share_takes_the_largest_size_that_is_not_above_it(name, tiny_llama):
    total = sum(p.numel() for p in tiny_llama.parameters())
    drawn = torch.random.get_rng_state()
    delta = make(Delta, {name: {"share": 0.08}}).sized(tiny_llama)
    assert torch.equal(drawn, torch.random.get_rng_state())
    size = getattr(delta, delta.dial)
    counts = []
    for each in (size, size + 1):
        model = delta.model_copy(update={delta.dial: each})
        counts.append(sum(p.numel() for p in model.trainable(model.apply(copy.deepcopy(tiny_llama))).values()))
    assert counts[0] <= 0.08 * total < counts[1]


def test_the_run_of_a_share_says_its_size_and_a_later_stage_goes_on_with_it(chat_inputs, tmp_path):
    spec = {"sft": {"lr": 1e-2, "batch_tokens": 64, "delta": {"adapter": {"share": 0.05}}}}
    stage = Stage.from_specs("mix", 0, LLAMA, {"constant": {}}, spec)
    result = train(stage, chat_inputs, tmp_path / "one")
    saved = json.loads((tmp_path / "one" / "delta" / "delta.json").read_text())["adapter"]
    assert saved["width"] > 1 and saved["share"] is None
    total = result.parameters - result.trained_parameters
    assert 0.04 * total < result.trained_parameters <= 0.05 * total and result.delta == "adapter"
    train(stage, chat_inputs, tmp_path / "two", start=tmp_path / "one" / "model")
    assert json.loads((tmp_path / "two" / "delta" / "delta.json").read_text())["adapter"] == saved


def test_the_manifest_of_a_run_says_how_many_weights_trained(world, tmp_path):
    spec = {"causal_lm": {"batch_tokens": 4096, "delta": {"lora": {"share": 0.05}}}}
    work = TrainRun(mix="both", seed=0, model=LLAMA, schedule="constant", stages=(spec,))
    trained, whole = re.findall(r"[\d,]+", work.train(world.inputs(), tmp_path).notes["trains"])
    share = int(trained.replace(",", "")) / int(whole.replace(",", ""))
    assert 0.03 < share <= 0.05


def test_shares_that_cannot_be_are_refused(tiny_llama):
    with pytest.raises(RecipeError, match="`rank` or `share`, not both"):
        make(Delta, {"lora": {"rank": 4, "share": 0.01}})
    with pytest.raises(InputError, match="with the smallest `rank`, 1"):
        make(Delta, {"lora": {"share": 1e-6}}).sized(tiny_llama)


def test_random_projections_of_vera_follow_the_seed(tiny_llama):
    def projection(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return Vera(rank=4).apply(copy.deepcopy(tiny_llama)).base_model.vera_A["default"]

    assert torch.equal(projection(0), projection(0)) and not torch.equal(projection(0), projection(1))


def kept_bytes(model, ids) -> int:
    """Bytes that the forward pass keeps for the backward pass, weights aside, each storage once."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    return sum(kept.values())


def test_no_gradient_passes_the_blocks_under_a_ladder(tiny_llama):
    delta = make(Delta, SPECS["ladder"])
    model, seen = delta.apply(tiny_llama), []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda module, args, output: seen.append(output))
    loss = model(input_ids=IDS).logits.square().sum()
    assert len(seen) == len(model.model.layers) and not any(output.requires_grad for output in seen)
    loss.backward()
    assert all(p.grad is not None for p in delta.trainable(model).values())


def test_a_ladder_keeps_less_for_the_backward_pass_than_lora():
    model = Llama(width=64, layers=6, heads=4, ff=256, context=128).build(300, 7)
    ids = torch.arange(128).expand(8, -1)
    kept = {}
    for name in ("ladder", "lora", "adapter"):
        delta = make(Delta, {name: {"share": 0.03}}).sized(model)
        kept[name] = kept_bytes(delta.apply(copy.deepcopy(model)).train(), ids)
    assert kept["ladder"] < 0.5 * min(kept["lora"], kept["adapter"])


def test_a_ladder_passes_block_masks_and_positions_through(chat_inputs):
    from windtunnel.trainer.modules.heads import hidden_states, takes_block_mask

    model = shaken(make(Delta, SPECS["ladder"]), Llama(width=32, layers=2, heads=2, context=64).build(300, 7))
    assert takes_block_mask(model, 64) and make(Delta, SPECS["ladder"]).shares_bins
    one, two = torch.arange(3, 13)[None], torch.arange(40, 55)[None]
    mask = torch.full((25, 25), float("-inf")).triu(1)
    mask[10:, :10] = float("-inf")
    positions = torch.cat([torch.arange(10), torch.arange(15)])[None]
    with torch.no_grad():
        packed = hidden_states(model, torch.cat([one, two], 1), positions, mask[None, None])
        torch.testing.assert_close(packed[:, :10], hidden_states(model, one), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(packed[:, 10:], hidden_states(model, two), atol=1e-5, rtol=1e-5)


def test_a_copy_of_a_model_has_a_ladder_of_its_own(tiny_llama):
    delta = make(Delta, SPECS["ladder"])
    model = shaken(delta, tiny_llama)
    other = copy.deepcopy(model)
    before = logits(model)
    with torch.no_grad():
        for parameter in delta.trainable(other).values():
            parameter.zero_()
    assert torch.equal(logits(model), before) and not torch.allclose(logits(other), before, atol=1e-3)
    assert torch.equal(logits(delta.base(other)), logits(delta.base(model)))
