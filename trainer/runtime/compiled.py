"""Functions that torch.compile turns into one kernel where a stage allows it, and that run as they are elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_allowed: ContextVar[bool] = ContextVar("compiled_functions", default=False)


@contextlib.contextmanager
def compiled_functions(allowed: bool) -> Iterator[None]:
    """Compile the functions that `fused` decorates at their first call within the block, if `allowed`."""
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


def fused(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that runs compiled within `compiled_functions(True)`; its tensors must lie on one device."""

    @cache
    def compiled() -> Any:
        import torch

        return torch.compile(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return (compiled() if _allowed.get() else function)(*args, **kwargs)

    return call
