"""Fused linear cross-entropy: computes loss and gradients chunk by chunk without materialising all logits.

With a vocabulary of 4,096, the logits of a batch and their gradient are the largest arrays of a small model's step.
Here the logits of a chunk stay in the CPU cache, are turned into probabilities in place, and are used for the gradients
of hidden states and weight immediately (Liger, Hsu et al. 2024, arXiv 2410.10989; Cut cross-entropy, Wijmans et al.
2024, arXiv 2411.09009). On a GPU, chunks are as large as fills it, and softmax, loss and gradient are one kernel where
the stage is compiled. Products have the precision of the hidden states; softmax, loss and sums are float32 or better.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from windtunnel.trainer.runtime.compiled import fused

CHUNK = 256  # rows of logits per chunk on the CPU: 4 MB with a vocabulary of 4,096
GPU_BYTES = 1 << 29  # of the logits of a chunk on a GPU


def summed_nats(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, z_loss: float = 0.0) -> torch.Tensor:
    """Return the summed negative log-likelihood in nats, a float32 scalar.

    hidden [n, width], weight [vocabulary, width], targets int64 [n]. Gradients are computed in the forward pass, while
    the logits of the chunk exist. `z_loss` times the squared logarithm of each softmax's normaliser is added, which
    keeps logits from drifting (PaLM, arXiv 2204.02311, with 1e-4).
    """
    if not torch.is_grad_enabled():
        return token_nats(hidden, weight, targets).sum()
    return _SummedNats.apply(hidden, weight, targets, z_loss)  # type: ignore[no-any-return]


def token_nats(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return each target's negative log-likelihood in nats, float32 [n], differentiable.

    For losses that are not a plain sum, such as preference losses; the backward pass recomputes the logits.
    """
    return _TokenNats.apply(hidden, weight, targets)  # type: ignore[no-any-return]


@torch.no_grad()
def scored_tokens(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (negative log-likelihood in nats, whether no other token is likelier), float32 and bool [n].

    hidden [n, width], weight [vocabulary, width], targets int64 [n].
    """
    nats = torch.empty(len(hidden), dtype=_sums(hidden), device=hidden.device)
    hits = torch.empty(len(hidden), dtype=torch.bool, device=hidden.device)
    for rows, logits in _chunks(hidden, weight):
        hits[rows] = logits.gather(1, targets[rows, None])[:, 0] >= logits.amax(-1)
        nats[rows] = _nats(logits, targets[rows])
    return nats, hits


class _SummedNats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, z_loss: float
    ) -> torch.Tensor:
        hidden_grad = torch.empty_like(hidden)
        weight_grad = _WeightGradient(weight) if ctx.needs_input_grad[1] else None
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        for rows, logits in _chunks(hidden, weight):
            chosen = logits.gather(1, targets[rows, None]).squeeze(1).to(_sums(logits)) if z_loss else None
            errors, nats = _errors_nats(logits, targets[rows])
            total += nats.sum(dtype=torch.float64)
            if chosen is not None:
                normaliser = nats + chosen  # the logarithm of the softmax's sum
                total += z_loss * normaliser.square().sum(dtype=torch.float64)
                _add_z_errors(errors, targets[rows], 2 * z_loss * normaliser)
            torch.mm(errors, weight, out=hidden_grad[rows])
            if weight_grad is not None:
                weight_grad.add(hidden[rows], errors)
        ctx.save_for_backward(hidden_grad, *([] if weight_grad is None else [weight_grad.sum]))
        return total.to(_sums(hidden))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (grad,) = grads
        hidden_grad, *rest = ctx.saved_tensors
        weight_grad = rest[0].t() if rest else None
        if grad.device.type == "cpu" and grad.item() == 1.0:  # the gradient of the loss itself needs no scaling
            return hidden_grad, weight_grad, None, None
        return hidden_grad * grad, None if weight_grad is None else weight_grad * grad, None, None


class _TokenNats(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nats = torch.empty(len(hidden), dtype=_sums(hidden), device=hidden.device)
        for rows, logits in _chunks(hidden, weight):
            nats[rows] = _nats(logits, targets[rows])
        ctx.save_for_backward(hidden, weight, targets)
        return nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (grad,) = grads
        hidden, weight, targets = ctx.saved_tensors
        hidden_grad = torch.empty_like(hidden)
        weight_grad = _WeightGradient(weight) if ctx.needs_input_grad[1] else None
        for rows, logits in _chunks(hidden, weight):
            errors, _ = _errors_nats(logits, targets[rows])
            errors.mul_(grad[rows, None])
            torch.mm(errors, weight, out=hidden_grad[rows])
            if weight_grad is not None:
                weight_grad.add(hidden[rows], errors)
        return hidden_grad, None if weight_grad is None else weight_grad.sum.t(), None


class _WeightGradient:
    """The float32 sum of a head's gradient over chunks, transposed for row-wise access, [width, vocabulary]."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.sum = torch.zeros_like(weight.t(), dtype=_sums(weight))

    def add(self, hidden: torch.Tensor, errors: torch.Tensor) -> None:
        """Add hidden^T errors, the gradient of a chunk [rows, width], [rows, vocabulary]."""
        if hidden.dtype == self.sum.dtype:
            self.sum.addmm_(hidden.t(), errors)
        elif hidden.device.type == "cuda":
            self.sum += torch.mm(hidden.t(), errors, out_dtype=torch.float32)
        else:
            self.sum += torch.mm(hidden.t(), errors)


def _chunks(hidden: torch.Tensor, weight: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield (rows, logits) of every chunk; the array of logits is reused by the next chunk."""
    size = CHUNK
    if hidden.device.type != "cpu":
        size = max(CHUNK, GPU_BYTES // (hidden.element_size() * len(weight)) // CHUNK * CHUNK)
    buffer = torch.empty(min(size, len(hidden)), len(weight), dtype=hidden.dtype, device=hidden.device)
    for start in range(0, len(hidden), size):
        rows = slice(start, min(start + size, len(hidden)))
        yield rows, torch.mm(hidden[rows], weight.t(), out=buffer[: rows.stop - start])


def _errors_nats(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (probabilities minus one at the targets, in the logits' precision; nats of the targets, float32 [n]).

    On the CPU, float32 logits are overwritten.
    """
    if logits.device.type != "cpu" or logits.dtype == torch.float64:
        return _errors_nats_at_once(logits, targets)
    from windtunnel.trainer.kernels.softmax import softmax_nats

    values = logits.detach().float()
    nats = values.new_empty(len(values))
    softmax_nats(values.numpy(), values.amax(1).numpy(), targets.numpy(), nats.numpy())
    minus = torch.full((len(targets), 1), -1.0)
    values.scatter_add_(1, targets[:, None], minus)
    return values.to(logits.dtype), nats


def _nats(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the nats of the targets, float32 [n]."""
    if logits.device.type != "cpu" or logits.dtype == torch.float64:
        return _errors_nats_at_once(logits, targets)[1]
    from windtunnel.trainer.kernels.softmax import target_nats

    values = logits.detach().float()
    nats = values.new_empty(len(values))
    target_nats(values.numpy(), values.amax(1).numpy(), targets.numpy(), nats.numpy())
    return nats


def _add_z_errors(errors: torch.Tensor, targets: torch.Tensor, factors: torch.Tensor) -> None:
    """Add factors [n] times the probabilities to the errors [n, vocabulary], which are probabilities minus one-hots."""
    factors = factors.to(errors.dtype)
    errors.mul_(1 + factors[:, None])
    errors.scatter_add_(1, targets[:, None], factors[:, None])


@fused
def _errors_nats_at_once(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    values = logits.to(_sums(logits))
    normaliser = values.logsumexp(-1, keepdim=True)
    nats = (normaliser - values.gather(1, targets[:, None])).squeeze(1)
    here = torch.arange(values.shape[1], device=values.device) == targets[:, None]
    return ((values - normaliser).exp() - here.to(values.dtype)).to(logits.dtype), nats


def _sums(values: torch.Tensor) -> torch.dtype:
    """Return the precision of sums over `values`: float32, or float64 if they have it."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32
