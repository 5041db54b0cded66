"""Access to the blocks of a transformer and their attention and feed-forward layers, by the usual names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import nn

from windtunnel.schemas.errors import InputError, nearest
from windtunnel.trainer.modules.heads import body

STACKS = ("layers", "h", "layer", "block")
HALVES = ("encoder", "decoder")  # of the body, that hold the blocks of BERT and T5
ATTENTION = ("self_attn", "attn", "attention")
FEED_FORWARD = ("mlp", "feed_forward", "ffn", "block_sparse_moe")


class Block(NamedTuple):
    """The attention and feed-forward layers of one block."""

    attention: nn.Module
    feed_forward: nn.Module


def blocks(model: Any) -> list[Block]:
    """Return the model's blocks in order. Raises InputError for an architecture with other names."""
    found = stack(model)
    if found is None:
        raise InputError(f"no stack of blocks was found in {type(model).__name__}; this delta does not support it")
    return [Block(_part(block, ATTENTION), _part(block, FEED_FORWARD)) for block in found]


def stack(model: Any) -> nn.ModuleList | None:
    """Return the list of the model's blocks, or None for an architecture with another name for it."""
    trunk = body(model)
    halves = [half for name in HALVES if isinstance(half := getattr(trunk, name, None), nn.Module)]
    found = [
        m for part in halves or [trunk] for name in STACKS if isinstance(m := getattr(part, name, None), nn.ModuleList)
    ]
    return nn.ModuleList([block for each in found for block in each]) if len(found) > 1 else next(iter(found), None)


def _part(block: nn.Module, names: tuple[str, ...]) -> nn.Module:
    part = next((m for name in names if isinstance(m := getattr(block, name, None), nn.Module)), None)
    if part is None:
        raise InputError(f"{type(block).__name__} has none of {', '.join(names)}; this delta does not support it")
    return part


def linears(model: Any) -> dict[str, nn.Linear]:
    """Return the linear layers of the body by name, without the head."""
    return {name: m for name, m in body(model).named_modules() if type(m) is nn.Linear}


def require_layers(wanted: Iterable[str], layers: Iterable[str], parameter: str) -> None:
    """Raise InputError, with the nearest right name, for a name that is neither that of a layer nor the end of one.

    `layers` are names as of `named_modules`; `parameter` is what the names were given as.
    """
    names = list(layers)
    for name in wanted:
        if not any(layer == name or layer.endswith(f".{name}") for layer in names):
            known = {layer.rpartition(".")[2] for layer in names} - {""}
            raise InputError(f"`{parameter}`: no layer of the model is called {name!r}: {nearest(name, known)}")
