"""Parameters that a token meets, and the floating-point operations that training on a token takes.

A weight takes 2 operations in the forward pass, 2 in the backward pass for the gradient of its input, and 2 more for
its own gradient if it trains: 6, or 4 if it is frozen. Nothing goes back below the lowest block with a weight that
trains, where a weight takes 2. Attention takes 4 x width x positions in the forward pass of a layer and twice that in
the backward pass. A causal model needs half of these products, and that half is counted as done; PaLM (appendix B,
arXiv 2204.02311) and nanoGPT count the whole, so that model FLOPs utilisation (MFU) is by convention the whole's:
`causal=False`.

Approximations: the gradient of the input of the lowest block is counted though it is not needed; norms and biases count
as matrices; positions that a delta trains before the text are not counted, nor are frozen matrices of a delta that are
no parameters (VeRA's); the network of p_tuning is counted for every token; recomputed activations are never counted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_BLOCK = re.compile(r"(?:^|\.)(?:layers|h|layer|block|blocks)\.(\d+)\.")
FORWARD, BACK, OWN = 2.0, 2.0, 2.0  # operations of a weight: forward, gradient of its input, its own gradient


def counted_parameters(model: PreTrainedModel) -> tuple[int, int]:
    """Return (all parameters, active parameters: body and head, without embeddings but one that is the head too).

    In a mixture of experts, only the experts to which a token is routed are active.
    """
    return sum(p.numel() for p in model.parameters()), round(sum(count for _, count, _ in _active(model)))


def flops_per_token(model: PreTrainedModel, context: float, causal: bool = True) -> float:
    """Return training FLOPs per token of rows of `context` positions, by the weights that train as they are set now.

    `causal`: half of the attention's products are done; False counts them whole, as MFU does by convention.
    """
    layers, width = getattr(model.config, "num_hidden_layers", 0), _attention_width(model.config)
    parts = list(_active(model))
    lowest = min((depth for depth, _, trains in parts if trains), default=layers)
    if any(p.requires_grad for p in _embeddings(model)):
        lowest = -1  # they stand below all blocks, as do positions that a delta trains
    weights = sum(
        count * (FORWARD + (BACK if depth >= lowest else 0.0) + (OWN if trains else 0.0))
        for depth, count, trains in parts
    )
    passes = layers + 2 * (layers - max(0, min(lowest, layers)))  # of a layer's attention; the backward pass is two
    return weights + passes * 4.0 * width * context * (0.5 if causal else 1.0)


def _active(model: Any) -> list[tuple[int, float, bool]]:
    """Return (depth, parameters that a token meets, whether they train) of every parameter.

    The depth is the block's number; the head and what else stands outside the blocks is above them.
    """
    layers = getattr(model.config, "num_hidden_layers", 0)
    experts = getattr(model.config, "num_local_experts", None)
    head = getattr(model.get_output_embeddings(), "weight", None)
    looked_up = {id(weight) for weight in _embeddings(model) if weight is not head}
    found = []
    for name, parameter in model.named_parameters():
        if id(parameter) in looked_up:
            continue
        share = model.config.num_experts_per_tok / experts if experts and ".experts." in name else 1.0
        block = _BLOCK.search(name)
        depth = int(block[1]) if block else layers
        found.append((depth, parameter.numel() * share, parameter.requires_grad))
    return found


def _embeddings(model: Any) -> list[Any]:
    """Return the weights of which rows are looked up, so that nothing is multiplied."""
    from torch import nn

    return [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]


def _attention_width(config: Any) -> int:
    """Return the width of all heads together, which is not the model's in some architectures; 0 without attention."""
    heads, size = getattr(config, "num_attention_heads", None), getattr(config, "head_dim", None)
    if not heads:
        return 0  # a recurrent network
    return heads * size if size else config.hidden_size
