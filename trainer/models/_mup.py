"""Maximal update parametrisation: learning rates and initial weights that stay right as a model grows.

Tuned once at a narrow, shallow base, a learning rate then suits all sizes (muP, Yang et al. 2022, arXiv 2203.03466; in
depth CompleteP, Dey et al. 2025, arXiv 2505.01618). With m = width / base width and d = layers / base layers:

- matrices of the blocks: initial standard deviation by 1 / sqrt(m), AdamW's rate by 1 / m;
- what a block adds to the residual stream (output of attention, down-projection): both also by 1 / d;
- queries: both by sqrt(base head width / head width), so that scores fall with the head's width, not its root;
- the logits: by 1 / m, as the initial weight and the rate of the last norm, since head and embedding may be tied;
- embeddings, head and other norms: as at the base.

A multiplier is part of the weights and of their learning rates, which is the same for AdamW, so that models export as
plain Llama. Weight decay stays what it is at the base, per step and relative to the weight.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Base(BaseModel):
    """The sizes at which the learning rate was tuned; `layers` and `head_width` default to the model's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int = Field(gt=0)
    layers: int | None = Field(None, gt=0)
    head_width: int | None = Field(None, gt=0)


def multipliers(model: PreTrainedModel, base: Base) -> dict[str, float]:
    """Return by what each parameter of a Llama is multiplied, as is its learning rate; parameters of 1 are left out.

    Initial matrices of the blocks are drawn with a standard deviation of 1 / sqrt(width), so that their own factor
    1 / sqrt(m) is part of the draw already: see `scale`.
    """
    config = model.config
    wider = config.hidden_size / base.width
    deeper = config.num_hidden_layers / (base.layers or config.num_hidden_layers)
    head = config.hidden_size // config.num_attention_heads
    found = {}
    for name, parameter in model.named_parameters():
        factor = 1.0
        if name == f"{model.base_model_prefix}.norm.weight":
            factor /= wider
        elif ".layers." in name and parameter.ndim == 2:
            factor /= wider
            if ".o_proj." in name or ".down_proj." in name:
                factor /= deeper
            if ".q_proj." in name:
                factor *= math.sqrt((base.head_width or head) / head)
        if factor != 1.0:
            found[name] = factor
    return found


def scale(model: Any, base: Base, embedding_std: float) -> None:
    """Scale new weights in place: matrices of blocks have been drawn by 1 / sqrt(width), embeddings too."""
    import torch

    config = model.config
    wider = config.hidden_size / base.width
    factors = multipliers(model, base)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".layers." in name and parameter.ndim == 2:
                parameter.mul_(factors[name] * wider if name in factors else 1.0)
            elif name in factors:
                parameter.mul_(factors[name])
            elif parameter.ndim == 2:  # embeddings and head: as at the base
                parameter.mul_(embedding_std / config.initializer_range)
