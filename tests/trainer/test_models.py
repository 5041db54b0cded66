"""The architectures: sizes as asked, spread of the first weights, experts that share their work."""

from __future__ import annotations

import math

import polars as pl
import pytest
import torch

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.models._model import Model, counted_parameters, flops_per_token, small_init
from windtunnel.trainer.modules.routing import routed_hidden_states

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
    assert flops_per_token(model, 32) == 6 * met + 12 * 2 * 32 * 32


def test_an_untied_input_embedding_multiplies_nothing():
    total, met = counted_parameters(make(Model, {"llama": {**SIZES, "tied": False}}).build(400, 0))
    assert total - met == 400 * 32


def test_balance_is_transformers_own():
    torch.manual_seed(0)
    model = make(Model, {"mixtral": SIZES}).build(400, 0)
    ids = torch.randint(0, 400, (2, 20))
    routed = routed_hidden_states(model, ids)
    theirs = model(input_ids=ids, labels=ids, output_router_logits=True)
    assert routed.balance.item() == pytest.approx(theirs.aux_loss.item() * 0.02, rel=1e-5)
    torch.testing.assert_close(model.lm_head(routed.hidden), theirs.logits)
    assert 0.5 < routed.metrics["expert_load"] <= 1.0


@pytest.mark.parametrize("name", ["gpt2", "mixtral"])
def test_they_train(world, tmp_path, name):
    words = {"causal_lm": {"lr": 1e-2, "batch_tokens": 512}}
    stage = Stage.from_specs("both", 0, {name: SIZES}, {"constant": {}}, words)
    result = train(stage, world.inputs(), tmp_path)
    log = pl.read_parquet(tmp_path / "log.parquet")
    assert result.final_loss < math.log(400) - 1
    assert ("expert_load" in log.columns) == (name == "mixtral")


def test_sizes_that_do_not_fit():
    with pytest.raises(RecipeError, match="3 heads"):
        make(Model, {"llama": {**SIZES, "heads": 3}})
    with pytest.raises(RecipeError, match="9 of 8 experts"):
        make(Model, {"mixtral": {**SIZES, "experts_per_token": 9}})
