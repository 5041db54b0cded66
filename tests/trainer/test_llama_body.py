"""Llama's body as plain functions against transformers' own: hidden states, every gradient, and when to stand aside."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from windtunnel.schemas.plugin import make
from windtunnel.trainer.data.packing import block_mask
from windtunnel.trainer.kernels.softmax import softmax_nats, target_nats
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.modules import llama
from windtunnel.trainer.modules.heads import hidden_states

SIZES = {"width": 48, "layers": 2, "heads": 3, "ff": 80, "context": 200, "init_std": 0.2}


def built(**sizes):
    torch.manual_seed(0)
    model = make(Model, {"llama": {**SIZES, **sizes}}).build(120, 0)
    for name, parameter in model.named_parameters():
        if "norm" in name:  # ones would hide a missing factor
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def theirs(model, ids, **packed):
    return model.model(input_ids=ids, use_cache=False, **packed).last_hidden_state


def ours(model, ids, **packed):
    return llama.hidden_states(model.model, ids, **packed)


def packed(rows):
    """Two texts in each row, which do not see one another, as packed chats have them."""
    owners = torch.tensor([[0] * 30 + [1] * 34] * rows)
    places = torch.cat([torch.arange(30), torch.arange(34)])[None].expand(rows, -1)
    return {"position_ids": places, "attention_mask": block_mask(owners, torch.zeros_like(owners))}


@pytest.mark.parametrize(
    ("positions", "sizes", "more"),
    [
        (1, {}, {}),
        (200, {}, {}),
        (65, {"heads": 6, "kv_heads": 2}, {}),
        (64, {}, packed(3)),
        (64, {"heads": 6, "kv_heads": 3}, packed(3)),
        (600, {"context": 600}, {}),
    ],
    ids=["one", "many", "grouped", "packed", "packed-grouped", "long"],
)
def test_hidden_states_and_gradients(positions, sizes, more):
    model = built(**sizes)
    ids = torch.randint(0, 120, (3, positions))
    factors = torch.randn(3, positions, 48)
    found = []
    for forward in (theirs, ours):
        model.zero_grad()
        hidden = forward(model, ids, **more)
        (hidden * factors).sum().backward()
        found.append((hidden.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    (expected, right), (given, gradients) = found
    torch.testing.assert_close(given, expected, atol=2e-5, rtol=1e-4)
    assert gradients.keys() == right.keys() and len(right) == 2 * 9 + 2
    largest = max(grad.abs().max().item() for grad in right.values())
    for name, grad in right.items():
        torch.testing.assert_close(gradients[name], grad, atol=5e-6 * largest, rtol=1e-4)


def test_recomputed_layers_have_the_same_gradients():
    model, found = built(), []
    ids = torch.randint(0, 120, (2, 50))
    for _ in range(2):
        model.zero_grad()
        ours(model.train(), ids).square().sum().backward()
        found.append([p.grad.clone() for p in model.model.parameters()])
        model.activation_checkpointing_enable()
    for kept, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(recomputed, kept)


def hooked(model):
    model.model.layers[1].mlp.register_forward_hook(lambda module, given, out: out * 2)


def adapted(model):
    class Other(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    model.model.layers[0].self_attn.q_proj = Other(48, 48, bias=False)


def scaled(model):
    model.config.rope_parameters["rope_type"] = "linear"


@pytest.mark.parametrize("change", [hooked, adapted, scaled])
def test_it_stands_aside_for_a_changed_model(change):
    model = built()
    assert llama.fits(model.model)
    change(model)
    assert not llama.fits(model.model)
    ids = torch.randint(0, 120, (2, 9))
    assert torch.equal(hidden_states(model, ids), theirs(model, ids))


def test_other_architectures_are_left_to_transformers():
    model = make(Model, {"gpt2": {"width": 48, "heads": 3}}).build(120, 0)
    assert not llama.fits(model.transformer)


def test_softmax_nats():
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal((5, 333)) * 30).astype(np.float32)
    logits[4, 7] = np.nan
    targets = rng.integers(0, 333, 5)
    expected = torch.from_numpy(logits).double().log_softmax(-1)
    nats, alone, largest = np.empty(5, np.float32), np.empty(5, np.float32), torch.from_numpy(logits).amax(1).numpy()
    target_nats(logits, largest, targets, alone)
    softmax_nats(logits, largest, targets, nats)
    np.testing.assert_allclose(alone, nats, rtol=1e-6)
    np.testing.assert_allclose(nats, -expected.numpy()[np.arange(5), targets], rtol=1e-6)
    np.testing.assert_allclose(logits, expected.exp().numpy(), rtol=1e-5, atol=1e-30)
    assert np.isnan(nats[4])
