"""Policy-gradient losses and advantages, as functions of log-probabilities per token, in nats.

Arrays over tokens are flat, the tokens of a reply side by side; `owners` gives the reply of each token.
"""

from __future__ import annotations

import numpy as np
import torch


def clipped_loss(
    logps: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, low: float, high: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return PPO's loss and whether the ratio is clipped, per element (Schulman et al. 2017, arXiv 1707.06347).

    The loss is -min(ratio A, clip(ratio, 1 - low, 1 + high) A) with ratio = exp(logps - old).
    """
    ratio = (logps - old).exp()
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - low, 1 + high)
    return torch.maximum(plain, clipped), clipped > plain


def clipped_value_loss(values: torch.Tensor, old: torch.Tensor, returns: torch.Tensor, clip: float) -> torch.Tensor:
    """Return half the squared error of values, at least that of values within `clip` of the old ones, per element."""
    near = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (near - returns) ** 2)


def kl_k3(logps: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return the estimate exp(d) - d - 1 of the KL divergence to the reference per token, d = reference - logps.

    It is unbiased for replies of the policy and never negative (Schulman 2020, "Approximating KL divergence", k3).
    """
    difference = reference - logps
    return difference.exp() - difference - 1


def generalised_advantages(
    rewards: np.ndarray, values: np.ndarray, gamma: float, lam: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (advantages, returns) of the tokens of one reply by GAE (Schulman et al. 2015, arXiv 1506.02438).

    rewards, values: float64 [tokens]; the value behind the last token is zero. Returns are advantages plus values.
    """
    out, later = np.empty_like(rewards), 0.0
    for place in range(len(rewards) - 1, -1, -1):
        behind = values[place + 1] if place + 1 < len(rewards) else 0.0
        later = rewards[place] + gamma * behind - values[place] + gamma * lam * later
        out[place] = later
    return out, out + values


def whitened(values: np.ndarray) -> np.ndarray:
    """Return values with mean 0 and variance 1; those that are all alike become 0."""
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    return (values - values.mean()) / (deviation + 1e-8) if deviation > 0 else np.zeros_like(values)


def group_advantages(scores: np.ndarray, scale: str) -> np.ndarray:
    """Return each reply's score against its group's mean, float64 [groups, samples] (DeepSeekMath, arXiv 2402.03300).

    `scale`: divided by the deviation of the `group` or of the `batch`, or by `none` (Dr. GRPO, arXiv 2503.20783).
    """
    centred = scores - scores.mean(1, keepdims=True)
    if scale == "none" or scores.size < 2:
        return centred
    deviation = scores.std(1, ddof=1, keepdims=True) if scale == "group" else scores.std(ddof=1)
    return centred / (deviation + 1e-4)


def leave_one_out(scores: np.ndarray) -> np.ndarray:
    """Return each reply's score against the mean of the others of its group (RLOO, Ahmadian et al. 2024, 2402.14740).

    scores: float64 [groups, samples], at least two samples.
    """
    samples = scores.shape[1]
    return (scores - scores.mean(1, keepdims=True)) * samples / (samples - 1)


def adapted(level: float, kl: float, target: float, horizon: float) -> tuple[float, float]:
    """Return (level, coefficient) of the KL penalty after a round with a mean KL.

    With e = kl / target, clipped to [1/2, 2], the level becomes level e^(1 / horizon), and the coefficient is level e:
    one follows, the other answers at once. The controller of Ziegler et al. 2019 (arXiv 1909.08593) has no second part
    and clips its error at 0.2: a KL of twice the target and one of 1.2 times are answered alike, and small runs end
    before it is held.
    """
    error = min(max(kl / target, 0.5), 2.0)
    level *= error ** (1 / horizon)
    return level, level * error
