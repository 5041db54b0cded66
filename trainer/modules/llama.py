"""The body of transformers' Llama as plain functions: three products fewer a layer, and one function to compile.

Weights are those of the transformers model; hidden states and gradients agree with it up to rounding. Queries, keys and
values come from one product, gate and up-projection from another; attention is torch's, in any precision, for any
number of positions and with grouped heads.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from windtunnel.trainer.runtime.compiled import fused


def fits(body: Any) -> bool:
    """Return whether this module computes what `body` does: an unmodified Llama without biases and dropout."""
    if type(body).__name__ != "LlamaModel":
        return False
    config = body.config
    return (
        config.hidden_act == "silu"
        and not (config.attention_bias or config.mlp_bias or config.attention_dropout)
        and config.rope_parameters.get("rope_type") == "default"
        and all(_plain(module) for module in body.modules())
    )


def _plain(module: nn.Module) -> bool:
    """Return whether a module is an unmodified class without hooks."""
    known = type(module).__module__.startswith(("torch.nn.modules", "transformers.models.llama", "transformers.activ"))
    return known and not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def hidden_states(
    body: Any,
    ids: torch.Tensor,
    position_ids: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the last hidden states [rows, positions, width] of token ids [rows, positions].

    `attention_mask` is additive, [rows, 1, positions, positions]; without it attention is causal.
    """
    if position_ids is None:
        position_ids = torch.arange(ids.shape[1], device=ids.device)[None]
    x = F.embedding(ids, body.embed_tokens.weight)
    cos, sin = (part[:, None] for part in body.rotary_emb(x, position_ids))  # [rows or 1, 1, positions, head width]
    saving = body.gradient_checkpointing and body.training and torch.is_grad_enabled()
    for layer in body.layers:
        weights, eps = _weights(layer), layer.input_layernorm.variance_epsilon
        if saving:
            x = checkpoint(_layer, x, weights, cos, sin, attention_mask, eps, use_reentrant=False)
        else:
            x = _layer(x, weights, cos, sin, attention_mask, eps)
    return F.rms_norm(x, x.shape[-1:], body.norm.weight, body.norm.variance_epsilon)


WIDE_HEAD = 64  # from which attention in bf16 is the faster one on a CPU


def _weights(layer: Any) -> tuple[torch.Tensor, ...]:
    """Return the weights of a layer: norm, queries, keys, values, output, norm, gate, up, down."""
    attention, mlp = layer.self_attn, layer.mlp
    modules = (layer.input_layernorm, attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
    modules += (layer.post_attention_layernorm, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
    return tuple(module.weight for module in modules)


@fused
def _layer(
    x: torch.Tensor,
    weights: tuple[torch.Tensor, ...],
    cos: torch.Tensor,
    sin: torch.Tensor,
    mask: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    norm1, wq, wk, wv, wo, norm2, wg, wu, wd = weights
    rows, positions, width = x.shape
    head = cos.shape[-1]
    qkv = F.linear(F.rms_norm(x, (width,), norm1, eps), torch.cat([wq, wk, wv]))
    qk, v = qkv.view(rows, positions, -1, head).transpose(1, 2).split([(len(wq) + len(wk)) // head, len(wv) // head], 1)
    q, k = _rotated(qk, cos, sin).split([len(wq) // head, len(wk) // head], 1)
    if x.dtype == torch.bfloat16 and x.device.type == "cpu" and head < WIDE_HEAD:
        q, k, v = q.float(), k.float(), v.float()
        mask = mask.float() if mask is not None and mask.is_floating_point() else mask
    mixed = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=q.shape[1] != k.shape[1]
    ).to(x.dtype)
    x = x + F.linear(mixed.transpose(1, 2).reshape(rows, positions, -1), wo)
    gate, up = F.linear(F.rms_norm(x, (width,), norm2, eps), torch.cat([wg, wu])).chunk(2, dim=-1)
    return x + F.linear(F.silu(gate) * up, wd)


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
