"""The architectures: sizes as asked, spread of the first weights, experts that share their work."""

from __future__ import annotations

import math

import polars as pl
import pytest
import torch

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.deltas._delta import Delta
from windtunnel.trainer.eval.evaluate import document_nats
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.models._model import Model, counted_parameters, flops_per_token, small_init
from windtunnel.trainer.modules.routing import ExpertLoads, dead_experts, routed_hidden_states
from windtunnel.trainer.objectives.causal_lm import CausalLM

SIZES = {"width": 32, "layers": 2, "heads": 2, "context": 32}


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_sizes_and_spread(name):
    torch.manual_seed(0)
    model = make(Model, {name: SIZES}).build(400, 7)
    assert model.config.hidden_size == 32 and model.config.num_hidden_layers == 2
    assert model.config.max_position_embeddings == 32
    assert model.config.eos_token_id == 7
    assert model.dtype == torch.float32
    weight = model.get_input_embeddings().weight
    assert weight.shape == (400, 32)
    assert weight is model.get_output_embeddings().weight
    assert weight.std().item() == pytest.approx(small_init(32), rel=0.05)
    assert model(input_ids=torch.arange(32)[None]).logits.shape == (1, 32, 400)


def test_the_spread_is_the_customary_one_at_a_thousand():
    assert small_init(1000) == pytest.approx(0.02)


def test_a_token_meets_some_experts_only():
    sizes = {**SIZES, "experts": 8, "experts_per_token": 2, "ff": 48}
    model = make(Model, {"mixtral": sizes}).build(400, 0)
    total, met = counted_parameters(model)
    experts = 2 * 8 * 3 * 32 * 48
    assert total - met == experts * 6 // 8
    assert flops_per_token(model, 32) == 6 * met + 6 * 2 * 32 * 32
    assert flops_per_token(model, 32, causal=False) == 6 * met + 12 * 2 * 32 * 32


def test_an_untied_input_embedding_multiplies_nothing():
    total, met = counted_parameters(make(Model, {"llama": {**SIZES, "tied": False}}).build(400, 0))
    assert total - met == 400 * 32


def test_balance_is_transformers_own():
    torch.manual_seed(0)
    model = make(Model, {"mixtral": SIZES}).build(400, 0)
    ids = torch.randint(0, 400, (1, 20))
    routed = routed_hidden_states(model, ids)
    theirs = model(input_ids=ids, labels=ids, output_router_logits=True)
    assert routed.balance.item() == pytest.approx(theirs.aux_loss.item() * 0.02, rel=1e-5)
    torch.testing.assert_close(model.lm_head(routed.hidden), theirs.logits)
    assert 0.5 < routed.metrics["expert_load"] <= 1.0


def test_frozen_weights_take_no_gradient_of_their_own_and_those_below_take_none():
    sizes = {**SIZES, "layers": 3, "ff": 48, "tied": False}
    block, attention, ends = 4 * 32 * 32 + 3 * 32 * 48 + 2 * 32, 2 * 32 * 32, 400 * 32 + 32

    def flops(*trained: str) -> float:
        model = make(Model, {"llama": sizes}).build(400, 0)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(part in name for part in trained))
        return flops_per_token(model, 32)

    assert flops("") == 6 * (3 * block + ends) + 3 * 3 * attention
    assert flops("layers.1.") == 2 * block + 6 * block + 4 * block + 4 * ends + (1 + 3 + 3) * attention
    assert flops("lm_head") == 2 * 3 * block + 6 * 400 * 32 + 4 * 32 + 3 * attention
    assert flops("embed_tokens") == 4 * (3 * block + ends) + 3 * 3 * attention


def test_adapters_cost_what_the_base_costs_without_its_own_gradients():
    model = make(Model, {"llama": {**SIZES, "layers": 3}}).build(400, 0)
    met = counted_parameters(model)[1]
    attention = 2 * 32 * 32
    wrapped = make(Delta, {"lora": {"rank": 4}}).apply(model)
    added = sum(p.numel() for p in wrapped.parameters() if p.requires_grad)
    assert flops_per_token(wrapped, 32) == 4 * met + 6 * added + 3 * 3 * attention


@pytest.mark.parametrize("name", ["llama", "gpt2"])  # torch does not count the grouped products of experts
def test_flops_are_those_that_torch_counts(name):
    from torch.utils.flop_counter import FlopCounterMode

    sizes = {"width": 64, "layers": 2, "heads": 2, "context": 64, **({"tied": False} if name == "llama" else {})}
    model = make(Model, {name: sizes}).build(400, 0)
    model.config._attn_implementation = "eager"  # counted as whole products
    ids = torch.randint(0, 400, (2, 64))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids).logits.sum().backward()
    assert counter.get_total_flops() == pytest.approx(ids.numel() * flops_per_token(model, 64, causal=False), rel=0.03)


def test_the_balance_adds_up_over_micro_batches():
    torch.manual_seed(0)
    model = make(Model, {"mixtral": {**SIZES, "balance": 1.0}}).build(400, 0)
    objective = CausalLM()  # type: ignore[call-arg]
    ids = torch.randint(0, 400, (4, 21))

    def gradients(*parts: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        for part in parts:
            objective.loss(model, Batch({"ids": part}, part.numel(), [])).total.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    whole = gradients(ids)
    for parts in (ids.split(2), ids.split(1), ids.split([3, 1])):
        torch.testing.assert_close(gradients(*parts), whole, rtol=1e-4, atol=1e-5)


def test_the_load_of_experts_counts_every_scored_token_once():
    torch.manual_seed(0)
    model = make(Model, {"mixtral": {**SIZES, "experts": 4}}).build(400, 0).eval()
    documents = [torch.randint(0, 400, (n,)).numpy() for n in (5, 12, 40)]
    with ExpertLoads(model) as loads:
        document_nats(model, documents, 0, 16, loads=loads)
    expected = torch.zeros(2, 4)
    for document in documents:
        ids = torch.tensor([0, *document])
        for start in range(0, len(document), 16):
            window = ids[start : min(start + 16, len(document))][None]
            for layer, logits in enumerate(model(input_ids=window, output_router_logits=True).router_logits):
                expected[layer] += torch.bincount(logits.topk(2, -1).indices.flatten(), minlength=4)
    shares = torch.tensor([row["share"] for row in loads.rows()]).view(2, 4)
    torch.testing.assert_close(shares, expected / expected.sum(-1, keepdim=True))
    assert dead_experts(loads.rows()) is None
    rows = [{"layer": k // 2, "expert": k % 2, "share": share} for k, share in enumerate([1.0, 0.0, 0.996, 0.004])]
    assert dead_experts(rows) == "2 of 4 experts get under 1% of an even share of tokens (layer 0: 1; layer 1: 1)"


@pytest.mark.parametrize("name", ["gpt2", "mixtral"])
def test_they_train(world, tmp_path, name):
    words = {"causal_lm": {"lr": 1e-2, "batch_tokens": 512}}
    stage = Stage.from_specs("both", 0, {name: SIZES}, {"constant": {}}, words)
    result = train(stage, world.inputs(), tmp_path)
    log = pl.read_parquet(tmp_path / "log.parquet")
    assert result.final_loss < math.log(400) - 1
    assert ("expert_load" in log.columns) == (tmp_path / "experts.parquet").exists() == (name == "mixtral")


def test_sizes_that_do_not_fit():
    with pytest.raises(RecipeError, match="3 heads"):
        make(Model, {"llama": {**SIZES, "heads": 3}})
    with pytest.raises(RecipeError, match="9 of 8 experts"):
        make(Model, {"mixtral": {**SIZES, "experts_per_token": 9}})
