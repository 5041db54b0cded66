"""The head's loss without logits, against torch's own in double precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from windtunnel.trainer.losses import cross_entropy


@pytest.fixture
def head():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(70, 24, generator=generator).requires_grad_()
    weight = torch.randn(300, 24, generator=generator).requires_grad_()
    targets = torch.randint(0, 300, (70,), generator=generator)
    return hidden, weight, targets


@pytest.mark.parametrize("chunk", [1, 16, 64, 70, 256])
def test_sum_and_gradients(head, chunk, monkeypatch):
    monkeypatch.setattr(cross_entropy, "CHUNK", chunk)
    hidden, weight, targets = head
    expected = F.cross_entropy(hidden.double() @ weight.double().t(), targets, reduction="sum")
    right = torch.autograd.grad(expected * 0.5, [hidden, weight])
    for loss in (
        cross_entropy.summed_nats(hidden, weight, targets),
        cross_entropy.token_nats(hidden, weight, targets).sum(),
    ):
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
        for ours, theirs in zip(torch.autograd.grad(loss * 0.5, [hidden, weight]), right, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_each_token_carries_its_own_gradient(head):
    hidden, weight, targets = head
    factors = torch.linspace(-2, 2, 70)
    expected = (F.cross_entropy(hidden @ weight.t(), targets, reduction="none") * factors).sum()
    ours = (cross_entropy.token_nats(hidden, weight, targets) * factors).sum()
    right = torch.autograd.grad(expected, [hidden, weight])
    for got, wanted in zip(torch.autograd.grad(ours, [hidden, weight]), right, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-5)


def test_in_double_precision_as_in_single(head):
    *wide, targets = head
    hidden, weight = (one.detach().double().requires_grad_() for one in wide)
    expected = F.cross_entropy(hidden @ weight.t(), targets, reduction="sum")
    right = torch.autograd.grad(expected, [hidden, weight])
    for loss in (
        cross_entropy.summed_nats(hidden, weight, targets),
        cross_entropy.token_nats(hidden, weight, targets).sum(),
    ):
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(torch.autograd.grad(loss, [hidden, weight]), right)


def test_a_frozen_head_costs_no_gradient_and_changes_none(head, monkeypatch):
    hidden, weight, targets = head
    losses = (cross_entropy.summed_nats, lambda *given: cross_entropy.token_nats(*given).sum())
    right = [torch.autograd.grad(loss(hidden, weight, targets), hidden)[0] for loss in losses]
    frozen = weight.detach()
    monkeypatch.setattr(torch.Tensor, "addmm_", None)  # what the weight's gradient would need
    for loss, wanted in zip(losses, right, strict=True):
        torch.testing.assert_close(torch.autograd.grad(loss(hidden, frozen, targets), hidden)[0], wanted)


def test_without_gradients_the_sum_is_the_same(head):
    hidden, weight, targets = head
    with torch.inference_mode():
        still = cross_entropy.summed_nats(hidden, weight, targets)
    assert still.item() == pytest.approx(cross_entropy.summed_nats(hidden, weight, targets).item(), rel=1e-6)


def test_improbable_targets_stay_finite():
    hidden = torch.tensor([[500.0], [1.0]])
    weight = torch.tensor([[1.0], [0.0], [-1.0]])
    targets = torch.tensor([2, 1])
    expected = F.cross_entropy(hidden @ weight.t(), targets, reduction="none")
    assert expected[0] == 1000.0
    torch.testing.assert_close(cross_entropy.token_nats(hidden, weight, targets), expected)


def test_non_finite_logits_are_not_hidden():
    nats = cross_entropy.token_nats(torch.tensor([[float("nan")]]), torch.ones(3, 1), torch.tensor([0]))
    assert torch.isnan(nats).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_z_loss_is_that_of_its_definition(head, dtype):
    *wide, targets = head
    hidden, weight = (one.detach().to(dtype).requires_grad_() for one in wide)
    logits = (hidden @ weight.t()).double()
    expected = F.cross_entropy(logits, targets, reduction="sum") + 0.03 * logits.logsumexp(-1).square().sum()
    right = torch.autograd.grad(expected, [hidden, weight])
    loss = cross_entropy.summed_nats(hidden, weight, targets, z_loss=0.03)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for ours, theirs in zip(torch.autograd.grad(loss, [hidden, weight]), right, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())
