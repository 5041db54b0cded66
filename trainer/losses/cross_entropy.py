"""Fused linear cross-entropy: computes loss and gradients chunk by chunk without materialising all logits.

With a vocabulary of 4,096, the logits of a batch and their gradient are the largest arrays of a small model's step.
Here the logits of a chunk stay in the CPU cache, are turned into probabilities in place, and are used for the gradients
of hidden states and weight immediately (Liger, Hsu et al. 2024, arXiv 2410.10989; Cut cross-entropy, Wijmans et al.
2024, arXiv 2411.09009).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

CHUNK = 256  # rows of logits per chunk: 4 MB with a vocabulary of 4,096


def summed_nats(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the summed negative log-likelihood in nats, a scalar.

    hidden [n, width], weight [vocabulary, width], targets int64 [n]. Gradients are computed in the forward pass, while
    the logits of the chunk exist.
    """
    if not torch.is_grad_enabled():
        return token_nats(hidden, weight, targets).sum()
    return _SummedNats.apply(hidden, weight, targets)  # type: ignore[no-any-return]


def token_nats(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return each target's negative log-likelihood in nats [n], differentiable.

    For losses that are not a plain sum, such as preference losses; the backward pass recomputes the logits.
    """
    return _TokenNats.apply(hidden, weight, targets)  # type: ignore[no-any-return]


class _SummedNats(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        hidden_grad = torch.empty_like(hidden)
        weight_grad = _transposed_zeros(weight, ctx.needs_input_grad[1])
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        for rows, logits in _chunks(hidden, weight):
            probabilities, nats = _softmax_nats(logits, targets[rows])
            total += nats.sum(dtype=torch.float64)
            _subtract_one(probabilities, targets[rows])
            torch.mm(probabilities, weight, out=hidden_grad[rows])
            if weight_grad is not None:
                weight_grad.addmm_(hidden[rows].t(), probabilities)
        ctx.save_for_backward(hidden_grad, *([] if weight_grad is None else [weight_grad]))
        return total.to(hidden.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (grad,) = grads
        hidden_grad, *rest = ctx.saved_tensors
        weight_grad = rest[0].t() if rest else None
        if grad.device.type == "cpu" and grad.item() == 1.0:  # the gradient of the loss itself needs no scaling
            return hidden_grad, weight_grad, None
        return hidden_grad * grad, None if weight_grad is None else weight_grad * grad, None


class _TokenNats(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nats = torch.empty(len(hidden), dtype=hidden.dtype, device=hidden.device)
        for rows, logits in _chunks(hidden, weight):
            nats[rows] = _softmax_nats(logits, targets[rows])[1]
        ctx.save_for_backward(hidden, weight, targets)
        return nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (grad,) = grads
        hidden, weight, targets = ctx.saved_tensors
        hidden_grad = torch.empty_like(hidden)
        weight_grad = _transposed_zeros(weight, ctx.needs_input_grad[1])
        for rows, logits in _chunks(hidden, weight):
            probabilities, _ = _softmax_nats(logits, targets[rows])
            _subtract_one(probabilities, targets[rows])
            probabilities.mul_(grad[rows, None])
            torch.mm(probabilities, weight, out=hidden_grad[rows])
            if weight_grad is not None:
                weight_grad.addmm_(hidden[rows].t(), probabilities)
        return hidden_grad, None if weight_grad is None else weight_grad.t(), None


def _transposed_zeros(weight: torch.Tensor, needed: bool) -> torch.Tensor | None:
    """Return the accumulator of the weight's gradient, transposed for row-wise access, or None for a frozen head."""
    return torch.zeros_like(weight.t()) if needed else None


def _chunks(hidden: torch.Tensor, weight: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield (rows, logits) of every chunk; the array of logits is reused by the next chunk."""
    buffer = torch.empty(min(CHUNK, len(hidden)), len(weight), dtype=hidden.dtype, device=hidden.device)
    for start in range(0, len(hidden), CHUNK):
        rows = slice(start, min(start + CHUNK, len(hidden)))
        yield rows, torch.mm(hidden[rows], weight.t(), out=buffer[: rows.stop - start])


def _softmax_nats(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (probabilities, nats of the targets [n]); on the CPU the probabilities overwrite the logits."""
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        from windtunnel.trainer.kernels.llama import softmax_nats

        nats = logits.new_empty(len(logits))
        softmax_nats(logits.detach().numpy(), targets.numpy(), nats.numpy())
        return logits, nats
    log_probabilities = logits.log_softmax(-1)
    return log_probabilities.exp(), -log_probabilities.gather(1, targets[:, None]).squeeze(1)


def _subtract_one(probabilities: torch.Tensor, targets: torch.Tensor) -> None:
    minus = torch.full((len(targets), 1), -1.0, dtype=probabilities.dtype, device=probabilities.device)
    probabilities.scatter_add_(1, targets[:, None], minus)
