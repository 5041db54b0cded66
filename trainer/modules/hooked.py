"""Small modules put into a model in place: registered under a name of their own, run by a hook, taken out again.

The model keeps its class and its forward, so that whatever runs the model runs the delta; peft's wrapper is not needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

NAME = "delta"


def insert(host: nn.Module, added: nn.Module, run: Callable[[nn.Module, Any, Any], Any]) -> None:
    """Register `added` in `host`; `run(added, input, output)` replaces the first tensor of what `host` returns."""
    host.add_module(NAME, added)

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        given = args[0] if args else kwargs["hidden_states"]
        if isinstance(output, tuple):
            return (run(getattr(module, NAME), given, output[0]), *output[1:])
        return run(getattr(module, NAME), given, output)

    added.hook = host.register_forward_hook(hook, with_kwargs=True)  # type: ignore[assignment]


def take_out(model: nn.Module) -> None:
    """Remove every inserted module with its hook."""
    for host in [m for m in model.modules() if isinstance(getattr(m, NAME, None), nn.Module)]:
        getattr(host, NAME).hook.remove()
        delattr(host, NAME)
