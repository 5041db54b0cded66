"""Heads of multi-token prediction, which exist in training alone: a residual layer each, below the output matrix.

They begin as zero (Medusa, Cai et al. 2024, arXiv 2401.10774): the first predictions are those of the next token, and
nothing is drawn, so that a run begins with the weights that it has without them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

NAME = "further_heads"


def add_further_heads(model: Any, number: int) -> None:
    """Add heads for `number` tokens beyond the next one to a causal language model."""
    width = model.get_output_embeddings().weight.shape[1]
    layers = nn.ModuleList([nn.Linear(width, width, bias=False) for _ in range(number)])
    for layer in layers:
        nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
    setattr(model, NAME, layers.to(model.dtype))


def remove_further_heads(model: Any) -> None:
    """Remove the heads."""
    delattr(model, NAME)


def further_states(model: Any, hidden: torch.Tensor) -> list[torch.Tensor]:
    """Return the states of each head, [rows x (positions - k), width] for the k-th beyond the next token, k from 1.

    hidden [rows, positions, width] are the body's; the last k positions have no k-th token in their row.
    """
    heads = getattr(model, NAME)
    cut = [hidden[:, : hidden.shape[1] - k].flatten(0, 1) for k in range(1, len(heads) + 1)]
    return [states + nn.functional.silu(head(states)) for states, head in zip(cut, heads, strict=True)]
