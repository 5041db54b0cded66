"""One-pass kernels for the operations of a Llama layer between its matrix products: norm, rotation, gate, softmax.

Arrays are C-contiguous float32. n = batch x positions, d = width, h = heads, t = positions, e = head width,
f = feed-forward width. `exp32` is the exponential of Cephes (Moshier) in a form that the compiler vectorises, with a
relative error below 2e-7.
"""

from __future__ import annotations

import numba
import numpy as np

F = np.float32
I = np.int32  # noqa: E741
FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}  # not nnan: NaNs must propagate


@numba.njit(fastmath=FAST, error_model="numpy", inline="always", cache=True)
def exp32(x):
    """Return exp(x) for x clamped to [-87, 88]."""
    x = F(-87.0) if x < F(-87.0) else x  # this form propagates NaN
    x = F(88.0) if x > F(88.0) else x
    n = np.floor(x * F(1.44269504) + F(0.5))
    r = x - n * F(0.693359375) + n * F(2.12194440e-4)
    p = F(1.9875691500e-4)
    p = p * r + F(1.3981999507e-3)
    p = p * r + F(8.3334519073e-3)
    p = p * r + F(4.1665795894e-2)
    p = p * r + F(1.6666665459e-1)
    p = p * r + F(5.0000001201e-1)
    return (p * r * r + r + F(1.0)) * (I((I(n) + I(127)) << I(23))).view(F)


@numba.njit(fastmath=FAST, error_model="numpy", cache=True)
def rms_norm(x, weight, eps, y, scale):
    """Fill y [n, d] with x / rms(x) * weight, and scale [n] with 1 / rms(x)."""
    n, d = x.shape
    for i in range(n):
        total = F(0.0)
        for j in range(d):
            total += x[i, j] * x[i, j]
        r = F(1.0) / np.sqrt(total / F(d) + eps)
        scale[i] = r
        for j in range(d):
            y[i, j] = x[i, j] * r * weight[j]


@numba.njit(fastmath=FAST, error_model="numpy", cache=True)
def rms_norm_backward(x, weight, scale, grad, x_grad, weight_grad):
    """Add the gradients to x_grad [n, d] and weight_grad [d], which is float64."""
    n, d = x.shape
    for i in range(n):
        r = scale[i]
        total = F(0.0)
        for j in range(d):
            total += grad[i, j] * weight[j] * x[i, j]
        c = total * r * r * r / F(d)
        for j in range(d):
            x_grad[i, j] += grad[i, j] * weight[j] * r - x[i, j] * c
            weight_grad[j] += grad[i, j] * x[i, j] * r


@numba.njit(fastmath=FAST, error_model="numpy", inline="always", cache=True)
def _rotate(x, cos, sin, scale, out):
    """Fill out [e] with x [e] times scale, rotating dimensions j and j + e / 2 as in transformers."""
    half = cos.shape[0]
    for j in range(half):
        out[j] = (x[j] * cos[j] - x[half + j] * sin[j]) * scale
    for j in range(half):
        out[half + j] = (x[half + j] * cos[j] + x[j] * sin[j]) * scale


@numba.njit(fastmath=FAST, error_model="numpy", inline="always", cache=True)
def _rotate_back(x, cos, sin, scale, out):
    half = cos.shape[0]
    for j in range(half):
        out[j] = (x[j] * cos[j] + x[half + j] * sin[j]) * scale
    for j in range(half):
        out[half + j] = (x[half + j] * cos[j] - x[j] * sin[j]) * scale


@numba.njit(fastmath=FAST, error_model="numpy", cache=True)
def split_and_rotate(qkv, cos, sin, scale, q, k, v):
    """Split qkv [b t, 3 h e] into q, k, v [b, h, t, e]; rotate q and k by position, multiply q by `scale`.

    cos, sin [t, e / 2].
    """
    b, h, t, e = q.shape
    for i in range(b):
        for p in range(t):
            row = qkv[i * t + p]
            for head in range(h):
                _rotate(row[head * e : (head + 1) * e], cos[p], sin[p], scale, q[i, head, p])
                _rotate(row[(h + head) * e : (h + head + 1) * e], cos[p], sin[p], F(1.0), k[i, head, p])
                v[i, head, p] = row[(2 * h + head) * e : (2 * h + head + 1) * e]


@numba.njit(fastmath=FAST, error_model="numpy", cache=True)
def split_and_rotate_backward(q, k, v, cos, sin, scale, qkv):
    """Fill qkv [b t, 3 h e] with the gradient, given those of q, k, v [b, h, t, e]."""
    b, h, t, e = q.shape
    for i in range(b):
        for p in range(t):
            row = qkv[i * t + p]
            for head in range(h):
                _rotate_back(q[i, head, p], cos[p], sin[p], scale, row[head * e : (head + 1) * e])
                _rotate_back(k[i, head, p], cos[p], sin[p], F(1.0), row[(h + head) * e : (h + head + 1) * e])
                row[(2 * h + head) * e : (2 * h + head + 1) * e] = v[i, head, p]


@numba.njit(fastmath=FAST, error_model="numpy", cache=True)
def causal_softmax(scores, first):
    """Turn scores [b h, rows, keys] into probabilities in place; row i attends to keys up to first + i."""
    heads, rows, _ = scores.shape
    for a in range(heads):
        for i in range(rows):
            row = scores[a, i, : first + i + 1]
            largest = row[0]
            for j in range(row.shape[0]):
                largest = row[j] if row[j] > largest else largest
            total = F(0.0)
            for j in range(row.shape[0]):
                e = exp32(row[j] - largest)
                row[j] = e
                total += e
            inverse = F(1.0) / total
            for j in range(row.shape[0]):
                row[j] *= inverse
            scores[a, i, first + i + 1 :] = F(0.0)


@numba.njit(fastmath=FAST, error_model="numpy", cache=True)
def softmax_backward(probabilities, grad):
    """Turn the gradient of probabilities [b h, rows, keys] into that of the scores, in place."""
    heads, rows, keys = grad.shape
    for a in range(heads):
        for i in range(rows):
            row, p = grad[a, i], probabilities[a, i]
            total = F(0.0)
            for j in range(keys):
                total += row[j] * p[j]
            for j in range(keys):
                row[j] = (row[j] - total) * p[j]


@numba.njit(fastmath=FAST, error_model="numpy", cache=True)
def swiglu(gate_up, out):
    """Fill out [n, f] with silu(gate) * up, where gate_up [n, 2 f] is the concatenation of gate and up."""
    n, f = out.shape
    for i in range(n):
        for j in range(f):
            gate = gate_up[i, j]
            out[i, j] = gate / (F(1.0) + exp32(-gate)) * gate_up[i, f + j]


@numba.njit(fastmath=FAST, error_model="numpy", cache=True)
def swiglu_backward(gate_up, grad, out):
    """Fill out [n, 2 f] with the gradients of gate and up, given that of the product [n, f].

    Each loop writes one array, because the compiler does not vectorise loops that write two.
    """
    n, f = grad.shape
    for i in range(n):
        gate, up, above, gate_grad, up_grad = gate_up[i, :f], gate_up[i, f:], grad[i], out[i, :f], out[i, f:]
        for j in range(f):
            up_grad[j] = F(1.0) / (F(1.0) + exp32(-gate[j]))
        for j in range(f):
            s = up_grad[j]
            gate_grad[j] = above[j] * up[j] * s * (F(1.0) + gate[j] * (F(1.0) - s))
        for j in range(f):
            up_grad[j] *= above[j] * gate[j]


@numba.njit(fastmath=FAST, error_model="numpy", cache=True)
def softmax_nats(logits, targets, nats):
    """Turn logits [n, v] into probabilities in place; fill nats [n] with -log of the targets' probabilities."""
    n, v = logits.shape
    for i in range(n):
        row = logits[i]
        largest = row[0]
        for j in range(v):
            largest = row[j] if row[j] > largest else largest
        chosen = row[targets[i]]
        total = F(0.0)
        for j in range(v):
            e = exp32(row[j] - largest)
            row[j] = e
            total += e
        inverse = F(1.0) / total
        for j in range(v):
            row[j] *= inverse
        nats[i] = np.log(total) + largest - chosen
