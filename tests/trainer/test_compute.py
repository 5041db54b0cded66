"""How a stage is computed: bf16 with float32 masters, compiled, recomputed, by another optimizer; what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import polars as pl
import pytest
import torch

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.loop import loop as loops
from windtunnel.trainer.loop.compute import Compute
from windtunnel.trainer.loop.log import Log
from windtunnel.trainer.loop.optim import Optimiser
from windtunnel.trainer.loop.step import Batches, InPrecision, hidden_matrices
from windtunnel.trainer.loop.train import Stage, TrainingError, train
from windtunnel.trainer.models._model import Model, load
from windtunnel.trainer.objectives.causal_lm import CausalLM
from windtunnel.trainer.runtime import precision

SIZES = {"width": 32, "layers": 2, "heads": 2, "context": 32}
WSD = {"wsd": {"warmup": 0.1, "decay": 0.2}}


@pytest.fixture
def bf16_here(monkeypatch):
    """Let bf16 run where it is emulated: slow, and the same numbers."""
    monkeypatch.setattr(precision, "_has_bf16", lambda device: True)


def losses(world, out, model="llama", optimizer="adamw", objective=None, **compute):
    spec = {"causal_lm": {"lr": 1e-2, "batch_tokens": 256, "optimizer": optimizer, **(objective or {})}}
    stage = Stage.from_specs("both", 0, {model: SIZES}, WSD, spec, compute=Compute(**compute))
    result = train(stage, world.inputs(), out)
    return pl.read_parquet(out / "log.parquet")["loss"].to_list(), result


@pytest.fixture(scope="module")
def usual(world, tmp_path_factory):
    return losses(world, tmp_path_factory.mktemp("float32"))


def test_bf16_learns_as_float32_does_and_keeps_float32_masters(bf16_here, world, usual, tmp_path):
    found, result = losses(world, tmp_path, precision="bf16")
    assert found != usual[0]
    assert found == pytest.approx(usual[0], rel=0.01)
    assert result.held_out.bits_per_byte == pytest.approx(usual[1].held_out.bits_per_byte, rel=0.01)
    weights = [p for p in load(tmp_path / "model").parameters() if p.ndim == 2]
    assert all(p.dtype == torch.float32 for p in weights)
    assert any(not torch.equal(p, p.bfloat16().float()) for p in weights)  # what small steps add is kept


def test_bf16_gradients_are_those_of_bf16_weights(bf16_here):
    torch.manual_seed(0)
    model = make(Model, {"gpt2": {**SIZES, "heads": 2}}).build(50, 0)
    ids = torch.randint(0, 50, (2, 16))

    def loss(inner):
        assert inner.dtype == torch.bfloat16
        return inner(input_ids=ids, labels=ids).loss

    InPrecision(model, torch.bfloat16)(loss).backward()
    got = {name: p.grad.clone() for name, p in model.named_parameters()}
    low = make(Model, {"gpt2": SIZES}).build(50, 0)
    low.load_state_dict(model.state_dict())
    low.bfloat16()(input_ids=ids, labels=ids).loss.backward()
    for name, p in low.named_parameters():
        assert got[name].dtype == torch.float32 and torch.equal(got[name], p.grad.float())


@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_recomputed_blocks_give_the_same_losses(world, usual, tmp_path, model):
    expected = usual[0] if model == "llama" else losses(world, tmp_path / "kept", model)[0]
    assert losses(world, tmp_path, model, activation_checkpointing=True)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow  # the compiler takes 10 to 30 seconds
@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_compiled_blocks_give_the_same_losses(world, tmp_path, model):
    plain, _ = losses(world, tmp_path / "plain", model)
    found, _ = losses(world, tmp_path / "compiled", model, compile=True)
    assert found == pytest.approx(plain, rel=1e-3)


def test_what_is_compiled():
    long, short = 1e18, 1e12
    assert [Compute(device=d).compiles(f) for d in ("cpu", "cuda") for f in (short, long)] == [
        False,
        False,
        False,
        True,
    ]
    assert Compute(compile=True).compiles(short)
    assert not Compute(device="cuda", compile=False).compiles(long)


@pytest.mark.parametrize(("device", "what"), [("cpu", "processor"), ("cuda", "GPU")])
def test_bf16_where_it_is_emulated_is_an_error_with_a_way_out(monkeypatch, device, what):
    monkeypatch.setattr(precision, "_has_bf16", lambda device: False)
    assert precision.resolve("auto", device) == "float32"
    with pytest.raises(InputError, match=rf"this {what} has no bf16.*`precision: float32`"):
        precision.check("bf16", device)


def test_auto_is_bf16_on_a_gpu_alone(bf16_here):
    assert (precision.resolve("auto", "cuda"), precision.resolve("auto", "cpu")) == ("bf16", "float32")


def test_muon_moves_the_matrices_of_blocks_and_adamw_the_rest(world, usual, tmp_path):
    found, _ = losses(world, tmp_path, optimizer="muon")
    assert found[0] == usual[0][0] and found[-1] < found[0] - 1
    model = make(Model, {"llama": SIZES}).build(50, 0)
    parameters = dict(model.named_parameters())
    hidden = hidden_matrices(model, parameters)
    assert len(hidden) == 2 * 7 and all(".layers." in name and parameters[name].ndim == 2 for name in hidden)
    muon, adamw = Optimiser(parameters, CausalLM(optimizer="muon"), hidden).parts
    assert {id(p) for g in muon.param_groups for p in g["params"]} == {id(parameters[name]) for name in hidden}
    assert sum(len(g["params"]) for g in adamw.param_groups) == len(parameters) - len(hidden)


def test_muons_state_comes_back():
    model = make(Model, {"llama": SIZES}).build(50, 0)
    parameters = dict(model.named_parameters())
    ours = Optimiser(parameters, CausalLM(optimizer="muon"), hidden_matrices(model, parameters))
    model(input_ids=torch.arange(20)[None]).logits.square().mean().backward()
    ours.step(1e-3, 1.0)
    state = {name: value.clone() for name, value in ours.state().items()}
    again = Optimiser(parameters, CausalLM(optimizer="muon"), hidden_matrices(model, parameters))
    again.load(state)
    assert again.state().keys() == state.keys() and all(torch.equal(again.state()[k], state[k]) for k in state)


def test_values_wait_until_they_are_looked_at(world, tmp_path, monkeypatch):
    """Rows that settle late, as on a GPU, say the same; a loss that is not finite names its own step."""
    spec = {"causal_lm": {"lr": 1e-2, "batch_tokens": 256}}
    stage = Stage.from_specs("both", 0, {"llama": SIZES}, WSD, spec)
    loop = loops.Loop(stage, world.inputs(), tmp_path, "x", None)
    loop.settle_every = 7
    seen = []
    loop.go(lambda step, *_: seen.append(step), 1e9, None)
    assert seen == [7, 14, 21, 28, 32]
    spoilt = loops.Loop(stage, world.inputs(), tmp_path / "spoilt", "x", None)
    spoilt.settle_every, taken = 7, spoilt.take

    def take(step, batches):
        taken(step, batches)
        if step == 9:
            spoilt.log._waiting[-1]["loss"] = torch.tensor(float("nan"))

    monkeypatch.setattr(spoilt, "take", take)
    with pytest.raises(TrainingError, match="at step 9 of 32 the loss is nan"):
        spoilt.go(None, 1e9, None)


def test_numbers_and_scalars_of_a_device_share_a_row():
    log = Log()
    log.add({"step": 0, "loss": torch.tensor(0.5), "tokens": 8, "accuracy": torch.tensor(3)})
    assert log.waiting == 1 and log.columns == {}
    assert log.settle() == [{"step": 0.0, "loss": 0.5, "tokens": 8.0, "accuracy": 3.0}]
    assert log.waiting == 0 and log.columns["loss"] == [0.5]


def test_the_next_batch_is_made_ready_meanwhile(monkeypatch):
    asked = []

    def batch(step):
        asked.append(step)
        return [Batch({}, step, ())]

    data = SimpleNamespace(steps=3, batch=batch, prefetched=True)
    batches = Batches(data, "cuda")  # pyright: ignore
    assert [batch.tokens for step in (0, 1, 2) for batch, _ in batches.of(step).batches] == [0, 1, 2]
    batches.close()
    assert sorted(asked) == [0, 1, 2]
