"""Sizes of models: shapes of a wanted number of parameters, and rates that stay right as a model grows."""

from __future__ import annotations

import pytest
import torch

from tests.benchmarks.coordinates import WIDTHS, moved, slope
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.loop.optim import Optimiser
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.models._shapes import parsed, shape_of
from windtunnel.trainer.objectives.causal_lm import CausalLM


@pytest.mark.parametrize(
    ("asked", "vocabulary"), [("300k", 1024), ("1M", 4096), ("5M", 4096), ("30M", 16_384), ("30M", 32_768)]
)
def test_a_model_has_about_the_parameters_that_were_asked_for(asked, vocabulary):
    model = make(Model, {"llama": {"parameters": asked}}).build(vocabulary, 0)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parsed(asked), rel=0.15)


def test_large_shapes_are_the_usual_ones():
    assert shape_of(parsed("124M"), 50_304, True) == (768, 12, 12)
    width, layers, heads = shape_of(parsed("1.2B"), 50_304, True)
    assert width // heads == 64 and 50 < width / layers < 75


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parameters": "30M", "width": 96}, "leave out width"),
        ({"parameters": "many"}, "valid integer"),
        ({"mup": {"width": 0}}, "greater than 0"),
    ],
)
def test_sizes_that_are_wrong(fields, message):
    with pytest.raises(RecipeError, match=message):
        make(Model, {"llama": fields})
    with pytest.raises(RecipeError, match="`mup` and `parameters` are for `llama`"):
        make(Model, {"mixtral": {"parameters": "30M"}})


def test_a_vocabulary_that_leaves_no_room_is_an_error_with_a_way_out():
    with pytest.raises(RecipeError, match=r"no model of 50,000 parameters has .* 4,096.*smaller tokenizer"):
        make(Model, {"llama": {"parameters": 50_000}}).build(4096, 0)


def test_at_the_base_mup_is_the_plain_model():
    sizes = {"width": 32, "layers": 2, "heads": 2}
    plain, mup = ({"llama": {**sizes, **more}} for more in ({}, {"mup": {"width": 32, "layers": 2, "head_width": 16}}))
    found = []
    for spec in (plain, mup):
        torch.manual_seed(0)
        plugin = make(Model, spec)
        found.append(plugin.build(50, 0))
        assert plugin.rates(found[-1]) == {}
    assert all(torch.equal(a, b) for a, b in zip(found[0].parameters(), found[1].parameters(), strict=True))


def test_coordinates_move_alike_at_all_widths_and_depths():
    """Without muP a step of one rate moves the states of wide models further; with it as far as those of the base."""
    widths = WIDTHS[:4]
    plain, mup = ([moved(w, 2, on, steps=4, lr=0.01) for w in widths] for on in (False, True))
    assert slope(widths, [each["states"] for each in plain]) > 0.7
    assert abs(slope(widths, [each["states"] for each in mup])) < 0.15
    assert slope(widths, [each["logits"] for each in mup]) < 0.1  # what is random in them shrinks
    depths = (2, 8)
    plain, mup = ([moved(64, d, on, steps=4, lr=0.01)["states"] for d in depths] for on in (False, True))
    assert slope(depths, plain) > 0.8 and abs(slope(depths, mup)) < 0.2


def test_rates_and_decay_reach_the_optimizer():
    plugin = make(Model, {"llama": {"width": 64, "layers": 4, "heads": 2, "mup": {"width": 32, "layers": 2}}})
    model = plugin.build(50, 0)
    rates = plugin.rates(model)
    assert rates["model.norm.weight"] == 0.5 and rates["model.layers.0.mlp.up_proj.weight"] == 0.5
    assert rates["model.layers.3.self_attn.o_proj.weight"] == 0.25 and "model.embed_tokens.weight" not in rates
    parameters = dict(model.named_parameters())
    for rule in ("adamw", "muon"):
        hidden = {name for name in parameters if ".layers." in name and parameters[name].ndim == 2}
        optimiser = Optimiser(parameters, CausalLM(optimizer=rule, weight_decay=0.1), hidden, rates)
        model(input_ids=torch.arange(9)[None]).logits.sum().backward()
        optimiser.step(0.01, 1.0)
        for part in optimiser.parts:
            for group in part.param_groups:
                names = [name for name, p in parameters.items() if any(p is each for each in group["params"])]
                assert {rates.get(name, 1.0) for name in names} == {group["rate"]}
                assert group["lr"] == pytest.approx(0.01 * group["rate"])
                decay = 0.1 if parameters[names[0]].ndim >= 2 else 0.0
                assert group["lr"] * group["weight_decay"] == pytest.approx(0.01 * decay)
