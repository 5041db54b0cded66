"""A step of generation with the cache of keys and values, which versions of transformers call by two names."""

from __future__ import annotations

import inspect
from functools import cache as once
from typing import Any

import torch


def cached_step(model: Any, ids: torch.Tensor, cache: Any, **more: Any) -> tuple[torch.Tensor, Any]:
    """Return the logits of the last position [rows, vocabulary] and the cache after token ids [rows, positions]."""
    unwrap = getattr(model, "get_base_model", None)
    name = _name(type(model if unwrap is None else unwrap()))
    known = {} if cache is None else {name: cache}  # a delta of keys and values begins with a cache of its own
    output = model(input_ids=ids, use_cache=True, **known, **more)
    return output.logits[:, -1], output[name]


@once
def _name(model: type) -> str:
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
