"""The model of a stage as one looks at it in the middle of training: as it would be scored at the end, unchanged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from windtunnel.trainer.loop.step import Bound

if TYPE_CHECKING:
    from windtunnel.trainer.loop.loop import Loop


@contextlib.contextmanager
def looking_at(loop: Loop) -> Iterator[Callable[..., Any]]:
    """Yield what calls functions of the model in evaluation mode, without gradients and uncompiled.

    Afterwards every module is in the mode that it was in, and random numbers go on where they were. On the CPU, scores
    of bf16 runs are float32, as those at the end are.
    """
    modes = [(module, module.training) for module in loop.model.modules()]
    devices = [loop.model.device] if loop.model.device.type == "cuda" else []
    uncompiled = torch.compiler.set_stance("force_eager") if loop.compiled else contextlib.nullcontext()
    loop.model.eval()
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), uncompiled:
            yield loop.called if loop.stage.compute.device == "cuda" else Bound(loop.model)
    finally:
        for module, training in modes:
            module.training = training
