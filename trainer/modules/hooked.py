"""Modules inserted into a model in place: registered as a submodule, run by a forward hook, and removable.

The model keeps its class and its forward method, so that every caller runs the inserted modules without a wrapper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

NAME = "delta"


def insert(host: nn.Module, added: nn.Module, run: Callable[[nn.Module, Any, Any], Any]) -> None:
    """Register `added` in `host`; `run(added, input, output)` replaces the first output tensor of `host`."""
    host.add_module(NAME, added)

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        first_input = args[0] if args else kwargs["hidden_states"]
        if isinstance(output, tuple):
            return (run(getattr(module, NAME), first_input, output[0]), *output[1:])
        return run(getattr(module, NAME), first_input, output)

    added.hook = host.register_forward_hook(hook, with_kwargs=True)  # type: ignore[assignment]


def remove_inserted(model: nn.Module) -> None:
    """Remove all inserted modules and their hooks."""
    for host in [m for m in model.modules() if isinstance(getattr(m, NAME, None), nn.Module)]:
        getattr(host, NAME).hook.remove()
        delattr(host, NAME)
