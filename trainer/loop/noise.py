"""The gradient noise scale, from the first micro-batch of a step and the whole step (McCandlish et al. 2018).

With gradients g of b tokens and G of B tokens, appendix A.1 of arXiv 1812.06162 gives unbiased estimates of the true
gradient's squared norm and of the trace of the covariance of a token's gradient:

    |g_true|^2 = (B |G|^2 - b |g|^2) / (B - b)        S = (|g|^2 - |G|^2) / (1/b - 1/B)

Each is averaged over steps before they are divided: S / |g_true|^2 is the noise scale in tokens, about the batch size
from which on larger batches save few steps. The first micro-batch's gradient costs no second backward pass, one norm.
Batches that are stratified by source differ less than draws at random, so that the estimate is rather too low.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.schemas.results import GradientNoise

if TYPE_CHECKING:
    import torch

NORM, SHARE = "micro_grad_norm", "micro_share"  # columns of the log
LAST = 0.5  # share of the steps that the result is the mean of: the noise grows as the loss falls


def first_norm(parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
    """Return the norm of the gradients as they are, float64, on their device."""
    import torch

    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).double()


def gradient_noise(log: Mapping[str, Sequence[float]]) -> GradientNoise | None:
    """Return the noise over the last steps of a log; None where no step had two micro-batches."""
    if NORM not in log:
        return None
    names = ("tokens", "grad_norm", NORM, SHARE)
    tokens, big, small, share = (np.asarray(log[name], dtype=np.float64) for name in names)
    whole = np.diff(tokens, prepend=0.0)
    used = np.arange(len(share)) >= len(share) * (1 - LAST)
    used &= (share > 0) & (share < 1) & np.isfinite(big) & np.isfinite(small)  # steps left out may have no norm
    if not used.any():
        return None
    b, total, g2, G2 = share[used] * whole[used], whole[used], small[used] ** 2, big[used] ** 2
    signal = float(((total * G2 - b * g2) / (total - b)).mean())
    trace = float(((g2 - G2) / (1 / b - 1 / total)).mean())
    return GradientNoise(
        trace=trace,
        squared_norm=signal,
        critical_batch_tokens=trace / signal if signal > 0 and trace > 0 else None,
        steps=int(used.sum()),
    )
