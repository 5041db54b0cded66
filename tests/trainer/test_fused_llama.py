"""The hand-written Llama layers against transformers' own: hidden states, every gradient, and when to stand aside."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.schemas.plugin import make
from windtunnel.trainer.kernels import llama as kernels
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.modules import fused_llama
from windtunnel.trainer.modules.heads import hidden_states

SIZES = {"width": 48, "layers": 2, "heads": 3, "ff": 80, "context": 200, "init_std": 0.2}


def llama(**sizes):
    torch.manual_seed(0)
    model = make(Model, {"llama": {**SIZES, **sizes}}).build(120, 0)
    for name, parameter in model.named_parameters():
        if "norm" in name:  # ones would hide a missing factor
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def plain(model, ids):
    return model.model(input_ids=ids, use_cache=False).last_hidden_state


@pytest.mark.parametrize("positions", [1, 2, 63, 64, 65, 129, 200])
def test_hidden_states_and_gradients(positions):
    model = llama()
    ids = torch.randint(0, 120, (3, positions))
    factors = torch.randn(3, positions, 48)
    found = []
    for forward in (plain, fused_llama.hidden_states):
        model.zero_grad()
        hidden = forward(model, ids)
        (hidden * factors).sum().backward()
        found.append((hidden.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    (expected, right), (ours, gradients) = found
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-4)
    assert gradients.keys() == right.keys() and len(right) == 2 * 9 + 2
    largest = max(grad.abs().max().item() for grad in right.values())
    for name, grad in right.items():
        torch.testing.assert_close(gradients[name], grad, atol=5e-6 * largest, rtol=1e-4)


def test_it_is_taken_when_it_fits():
    model, ids = llama(), torch.randint(0, 120, (2, 50))
    assert hidden_states(model, ids).grad_fn.name() == fused_llama.hidden_states(model, ids).grad_fn.name()
    with torch.inference_mode():
        torch.testing.assert_close(hidden_states(model, ids), plain(model, ids), atol=2e-5, rtol=1e-4)


def hooked(model):
    model.model.layers[1].mlp.register_forward_hook(lambda module, given, out: out * 2)


def adapted(model):
    class Other(torch.nn.Linear):
        pass

    model.model.layers[0].self_attn.q_proj = Other(48, 48, bias=False)


def frozen(model):
    model.model.embed_tokens.weight.requires_grad_(False)


def doubled(model):
    model.double()


@pytest.mark.parametrize("change", [hooked, adapted, frozen, doubled])
def test_it_stands_aside_for_a_changed_model(change):
    model = llama()
    assert fused_llama.fits(model, 64)
    change(model)
    assert not fused_llama.fits(model, 64)
    ids = torch.randint(0, 120, (2, 20))
    assert torch.equal(hidden_states(model, ids), plain(model, ids))


def test_it_stands_aside_for_long_rows_shared_keys_and_other_models():
    assert not fused_llama.fits(llama(context=1024), 513)
    assert not fused_llama.fits(llama(heads=6, kv_heads=3), 64)
    assert not fused_llama.fits(make(Model, {"gpt2": {"width": 48, "heads": 3}}).build(120, 0), 64)


def test_a_nan_comes_out_again():
    model = llama()
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight[3, 3] = float("nan")
    assert fused_llama.hidden_states(model, torch.randint(0, 120, (1, 10))).isnan().any()


def test_exponential():
    x = np.linspace(-87, 88, 100_001).astype(np.float32)[None]
    gate_up = np.concatenate([x, np.ones_like(x)], axis=1)
    out = np.empty_like(x)
    kernels.swiglu(gate_up, out)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(out, wide / (1 + np.exp(-wide)), rtol=1e-6, atol=1e-37)


def test_softmax_nats():
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal((5, 333)) * 30).astype(np.float32)
    targets = rng.integers(0, 333, 5)
    expected = torch.from_numpy(logits).double().log_softmax(-1)
    nats = np.empty(5, np.float32)
    kernels.softmax_nats(logits, targets, nats)
    np.testing.assert_allclose(nats, -expected.numpy()[np.arange(5), targets], rtol=1e-6)
    np.testing.assert_allclose(logits, expected.exp().numpy(), rtol=1e-5, atol=1e-30)
