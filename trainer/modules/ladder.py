"""The side network of ladder side tuning, and how it is inserted into a model in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.modules.blocks import stack
from windtunnel.trainer.modules.heads import body
from windtunnel.trainer.modules.hooked import NAME

FINAL_NORMS = ("norm", "ln_f", "final_layer_norm")
TEMPERATURE = 0.1  # of the gates, as in the paper


class Rung(nn.Module):
    """One step of the side network: a gate between its state and a block's output, then a residual layer."""

    def __init__(self, size: int, width: int):
        super().__init__()
        self.down, self.gate = nn.Linear(size, width), nn.Parameter(torch.zeros(()))
        self.norm, self.wide, self.narrow = nn.RMSNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, state: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        kept = torch.sigmoid(self.gate / TEMPERATURE)
        mixed = kept * state + (1 - kept) * self.down(hidden)
        return mixed + self.narrow(F.silu(self.wide(self.norm(mixed))))


class Ladder(nn.Module):
    """up(norm(s_L)) of states s_i = rung_i(s_(i-1), h_i) and s_0 = down(h_0); `up` starts at zero.

    h_0 [.., size] is the input of the first block and h_i the output of block i, all detached.
    """

    def __init__(self, size: int, width: int, blocks: int):
        super().__init__()
        self.down, self.rungs = nn.Linear(size, width), nn.ModuleList([Rung(size, width) for _ in range(blocks)])
        self.norm, self.up = nn.RMSNorm(width), nn.Linear(width, size)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.seen: list[torch.Tensor] = []  # of the forward pass that goes on

    def forward(self) -> torch.Tensor:
        first, *hidden = self.seen
        self.seen = []
        state = self.down(first)
        for rung, each in zip(self.rungs, hidden, strict=True):
            state = rung(state, each)
        return self.up(self.norm(state))

    # Hooks, which are methods so that a copy of the model calls those of its own ladder.

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take the input of the first block."""
        self.seen = [(args[0] if args else kwargs["hidden_states"]).detach()]

    def keep(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Take the output of a block."""
        self.seen.append((output[0] if isinstance(output, tuple) else output).detach())

    def join(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[torch.Tensor]:
        """Add the side network's output to the input of the final norm."""
        return (args[0] + self(),)


def insert_ladder(model: Any, width: int) -> None:
    """Register a ladder in the final norm of a causal model, whose input it is added to.

    Raises InputError for an architecture without a stack of blocks and a norm behind it.
    """
    trunk, blocks = body(model), stack(model)
    norm = next((m for name in FINAL_NORMS if isinstance(m := getattr(trunk, name, None), nn.Module)), None)
    if blocks is None or norm is None:
        raise InputError(
            f"`ladder` joins its side network before the norm behind the last block, and {type(model).__name__} has "
            f"none that is called {' or '.join(FINAL_NORMS)}; use another delta"
        )
    ladder = Ladder(model.config.hidden_size, width, len(blocks)).to(model.device, model.dtype)
    norm.add_module(NAME, ladder)

    first = blocks[0].register_forward_pre_hook(ladder.begin, with_kwargs=True)
    each = [block.register_forward_hook(ladder.keep) for block in blocks]
    ladder.hook = _Handles([first, *each, norm.register_forward_pre_hook(ladder.join)])  # type: ignore[assignment]


class _Handles:
    """Several handles of hooks that are removed as one."""

    def __init__(self, handles: list[Any]):
        self.handles = handles

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()
