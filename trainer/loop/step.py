"""The loss of a step's micro-batches: in the stage's precision, on its device, compiled where that pays."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.loop.ranks import ALONE, Ranks
from windtunnel.trainer.modules.blocks import stack
from windtunnel.trainer.objectives._objective import Data

R = TypeVar("R")


class Bound(nn.Module):
    """Calls functions of a model as a forward method, so that whatever they read of it belongs to one module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., R], *args: Any) -> R:
        return function(self.model, *args)


class InPrecision(nn.Module):
    """Calls functions of a model whose parameters are cast to `dtype`; gradients arrive at the float32 parameters."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.bound, self.dtype = Bound(model), dtype

    def forward(self, function: Callable[..., R], *args: Any) -> R:
        weights = {n: p.to(self.dtype) for n, p in self.bound.named_parameters() if p.is_floating_point()}
        return torch.func.functional_call(self.bound, weights, (function, *args))


def compile_blocks(model: Any) -> None:
    """Compile every block of the model in place by torch.compile; equal blocks share one compilation."""
    blocks = stack(model)
    for block in blocks if blocks is not None else [model]:
        block.compile()


def recompute_blocks(model: Any) -> None:
    """Let every block recompute its activations in the backward pass."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()


def hidden_matrices(model: Any, parameters: dict[str, nn.Parameter]) -> set[str]:
    """Return the names of the matrices inside the model's blocks; of none where the blocks are not found."""
    blocks = stack(model)
    inside = {id(p) for p in blocks.parameters() if p.ndim == 2} if blocks is not None else set()
    return {name for name, p in parameters.items() if id(p) in inside}


class Ready(NamedTuple):
    """The micro-batches of a step that are a rank's, with their factors, and the tokens of all of them."""

    batches: list[tuple[Batch, float]]
    tokens: int


class Batches:
    """The micro-batches of a step on the device; on a GPU, those of the next step are made ready meanwhile."""

    def __init__(self, data: Data, device: str, ranks: Ranks = ALONE) -> None:
        self._data, self._device, self._ranks = data, device, ranks
        self._thread = ThreadPoolExecutor(1) if device == "cuda" and data.prefetched else None
        self._ahead: tuple[int, Future[Ready]] | None = None

    def of(self, step: int) -> Ready:
        """Return the micro-batches of a step."""
        if self._thread is None:
            return _with(self._read(step), lambda t: t.to(self._device)) if self._device != "cpu" else self._read(step)
        ready = self._ahead[1].result() if self._ahead and self._ahead[0] == step else self._pinned(step)
        if step + 1 < self._data.steps:
            self._ahead = (step + 1, self._thread.submit(self._pinned, step + 1))
        return _with(ready, lambda t: t.to(self._device, non_blocking=True))

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _read(self, step: int) -> Ready:
        batches = self._data.batch(step)
        return Ready(self._ranks.mine(batches), sum(batch.tokens for batch in batches))

    def _pinned(self, step: int) -> Ready:
        return _with(self._read(step), lambda t: t.pin_memory())


def _with(ready: Ready, change: Callable[[torch.Tensor], torch.Tensor]) -> Ready:
    changed = [
        (batch._replace(tensors={name: change(t) for name, t in batch.tensors.items()}), factor)
        for batch, factor in ready.batches
    ]
    return ready._replace(batches=changed)
