"""A fused forward and backward pass of the Llama body of transformers, for small models on the CPU.

At widths of a few hundred, half of the time of a layer is spent outside its matrix products: on norms, rotations,
masked parts of attention and the overhead of autograd nodes. Here a layer is one autograd node, matrix products use
BLAS, attention runs in blocks of rows over the keys up to the block's end, and everything else is a one-pass kernel.
The weights are those of the transformers model; hidden states and gradients agree with it up to rounding
(tests/trainer/test_fused_llama.py).

`fits` gives the conditions: an unmodified Llama in float32 on the CPU with as many key as query heads, and at most 512
positions, because attention probabilities are stored for the backward pass: batch x heads x positions^2 x 2.5 bytes per
layer.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from windtunnel.trainer.kernels import llama as kernels

LONGEST = 512
ROWS = 64  # of attention per block


def fits(model: Any, positions: int) -> bool:
    """Return whether this module supports `model` for rows of `positions` tokens."""
    config = model.config
    weights = [p.requires_grad for p in model.parameters()]
    return (
        type(model).__name__ == "LlamaForCausalLM"
        and positions <= LONGEST
        and config.num_key_value_heads == config.num_attention_heads
        and config.hidden_act == "silu"
        and config.pretraining_tp == 1
        and not (config.attention_bias or config.mlp_bias or config.attention_dropout)
        and config.rope_parameters.get("rope_type") == "default"
        and model.dtype == torch.float32
        and model.device.type == "cpu"
        and (all(weights) or not any(weights))
        and all(_plain(module) for module in model.modules())
    )


def _plain(module: nn.Module) -> bool:
    """Return whether a module is an unmodified class without hooks."""
    known = type(module).__module__.startswith(("torch.nn.modules", "transformers.models.llama", "transformers.activ"))
    return known and not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def hidden_states(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return the last hidden states [rows, positions, width] of token ids [rows, positions]."""
    body = model.model
    rows, positions = ids.shape
    places = torch.arange(positions).unsqueeze(0)
    cos, sin = body.rotary_emb(body.embed_tokens.weight[:0], places)
    half = cos.shape[-1] // 2
    rotation = (cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous())
    x = F.embedding(ids, body.embed_tokens.weight).view(rows * positions, -1)
    heads = body.config.num_attention_heads
    for layer in body.layers:
        attention, mlp = layer.self_attn, layer.mlp
        x = _Layer.apply(
            x,
            layer.input_layernorm.weight,
            attention.q_proj.weight,
            attention.k_proj.weight,
            attention.v_proj.weight,
            attention.o_proj.weight,
            layer.post_attention_layernorm.weight,
            mlp.gate_proj.weight,
            mlp.up_proj.weight,
            mlp.down_proj.weight,
            rotation,
            (rows, heads, positions),
            body.config.rms_norm_eps,
        )
    return _Norm.apply(x, body.norm.weight, body.config.rms_norm_eps).view(rows, positions, -1)


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        y, scale = _norm(x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        x, weight, scale = ctx.saved_tensors
        x_grad = torch.zeros_like(x)
        weight_grad = _norm_backward(x, weight, scale, grads[0], x_grad)
        return x_grad, weight_grad, None


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, *args: Any) -> torch.Tensor:
        norm1, wq, wk, wv, wo, norm2, wg, wu, wd, rotation, shape, eps = args
        w_qkv, w_gu = torch.cat([wq, wk, wv]), torch.cat([wg, wu])
        y1, scale1 = _norm(x, norm1, eps)
        q, k, v = _rotated(torch.mm(y1, w_qkv.t()), rotation, shape)
        mixed, blocks = _attend(q, k, v, any(ctx.needs_input_grad))
        a = _joined(mixed, shape)
        x2 = torch.addmm(x, a, wo.t())
        y2, scale2 = _norm(x2, norm2, eps)
        gate_up = torch.mm(y2, w_gu.t())
        h = gate_up.new_empty(len(x), len(wg))
        kernels.swiglu(_array(gate_up), _array(h))
        ctx.rotation, ctx.shape = rotation, shape
        ctx.save_for_backward(
            x, norm1, norm2, wo, wd, w_qkv, w_gu, y1, scale1, q, k, v, a, x2, y2, scale2, gate_up, h, *blocks
        )
        return torch.addmm(x2, h, wd.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        x, norm1, norm2, wo, wd, w_qkv, w_gu, y1, scale1, q, k, v, a, x2, y2, scale2, gate_up, h, *blocks = (
            ctx.saved_tensors
        )
        (grad,) = (g.contiguous() for g in grads)
        wd_grad = torch.mm(grad.t(), h)
        gate_up_grad = torch.empty_like(gate_up)
        kernels.swiglu_backward(_array(gate_up), _array(torch.mm(grad, wd)), _array(gate_up_grad))
        w_gu_grad = torch.mm(gate_up_grad.t(), y2)
        running = grad.clone()  # gradient of the residual stream
        norm2_grad = _norm_backward(x2, norm2, scale2, torch.mm(gate_up_grad, w_gu), running)
        wo_grad = torch.mm(running.t(), a)
        qkv_grad = _attention_backward(torch.mm(running, wo), q, k, v, blocks, ctx.rotation, ctx.shape)
        w_qkv_grad = torch.mm(qkv_grad.t(), y1)
        norm1_grad = _norm_backward(x, norm1, scale1, torch.mm(qkv_grad, w_qkv), running)
        return (
            *(running, norm1_grad, *w_qkv_grad.chunk(3), wo_grad, norm2_grad, *w_gu_grad.chunk(2), wd_grad),
            *(None, None, None),
        )


def _array(tensor: torch.Tensor) -> Any:
    return tensor.detach().numpy()


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    y, scale = torch.empty_like(x), x.new_empty(len(x))
    kernels.rms_norm(_array(x), _array(weight), kernels.F(eps), _array(y), _array(scale))
    return y, scale


def _norm_backward(
    x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, grad: torch.Tensor, x_grad: torch.Tensor
) -> torch.Tensor:
    """Add the gradient with respect to x to `x_grad`; return that of the weight."""
    weight_grad = torch.zeros_like(weight, dtype=torch.float64)
    arrays = (_array(x), _array(weight), _array(scale), _array(grad.contiguous()))
    kernels.rms_norm_backward(*arrays, _array(x_grad), _array(weight_grad))
    return weight_grad.to(weight.dtype)


def _rotated(
    qkv: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], shape: tuple[int, int, int]
) -> tuple[torch.Tensor, ...]:
    """Return q (divided by the square root of the head width), k, v [batch x heads, positions, head width]."""
    batch, heads, positions = shape
    width = qkv.shape[1] // (3 * heads)
    parts = qkv.new_empty(3, batch, heads, positions, width)
    cos, sin = rotation
    kernels.split_and_rotate(
        _array(qkv), _array(cos), _array(sin), kernels.F(width**-0.5), *(_array(part) for part in parts)
    )
    return tuple(part.view(batch * heads, positions, width) for part in parts)


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the attention output, and the probabilities of each block of rows if `keep`."""
    mixed, blocks = torch.empty_like(q), []
    for first in range(0, q.shape[1], ROWS):
        last = min(first + ROWS, q.shape[1])
        scores = torch.bmm(q[:, first:last], k[:, :last].transpose(1, 2))
        kernels.causal_softmax(_array(scores), first)
        mixed[:, first:last] = torch.bmm(scores, v[:, :last])
        if keep:
            blocks.append(scores)
    return mixed, blocks


def _attention_backward(
    grad: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    blocks: list[torch.Tensor],
    rotation: tuple[torch.Tensor, torch.Tensor],
    shape: tuple[int, int, int],
) -> torch.Tensor:
    """Return the gradient of qkv [batch x positions, 3 x width], given that of the concatenated heads."""
    batch, heads, positions = shape
    width = q.shape[2]
    split = grad.view(batch, positions, heads, width).transpose(1, 2).reshape(q.shape)
    q_grad, k_grad, v_grad = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for first, scores in zip(range(0, positions, ROWS), blocks, strict=True):
        last = first + scores.shape[1]
        here = split[:, first:last]
        v_grad[:, :last].baddbmm_(scores.transpose(1, 2), here)
        scores_grad = torch.bmm(here, v[:, :last].transpose(1, 2))
        kernels.softmax_backward(_array(scores), _array(scores_grad))
        q_grad[:, first:last] = torch.bmm(scores_grad, k[:, :last])
        k_grad[:, :last].baddbmm_(scores_grad.transpose(1, 2), q[:, first:last])
    out = grad.new_empty(len(grad), 3 * heads * width)
    cos, sin = rotation
    dq, dk, dv = (_array(part.view(batch, heads, positions, width)) for part in (q_grad, k_grad, v_grad))
    kernels.split_and_rotate_backward(dq, dk, dv, _array(cos), _array(sin), kernels.F(width**-0.5), _array(out))
    return out


def _joined(mixed: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    batch, heads, positions = shape
    return mixed.view(batch, heads, positions, -1).transpose(1, 2).reshape(batch * positions, -1)
