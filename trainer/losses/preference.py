"""Preference losses as functions of log-ratios or rewards, one value per pair, in nats.

`chosen` and `rejected` are log pi(y|x) - log pi_ref(y|x), summed over the answer's tokens. Recipes select a loss by its
key in `LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F


class Pairs(NamedTuple):
    """Log-ratios of a batch of pairs and the answers' lengths in tokens, all [pairs]."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor

    @property
    def margin(self) -> torch.Tensor:
        return self.chosen - self.rejected


def sigmoid(pairs: Pairs, beta: float, smoothing: float) -> torch.Tensor:
    """DPO (Rafailov et al. 2023); `smoothing` is the probability of a flipped label (cDPO, Mitchell 2023)."""
    scaled = beta * pairs.margin
    return -(1 - smoothing) * F.logsigmoid(scaled) - smoothing * F.logsigmoid(-scaled)


def robust(pairs: Pairs, beta: float, smoothing: float) -> torch.Tensor:
    """The unbiased loss under label noise (rDPO, Chowdhury et al. 2024); requires smoothing below one half."""
    scaled = beta * pairs.margin
    kept, flipped = (1 - smoothing) * F.logsigmoid(scaled), smoothing * F.logsigmoid(-scaled)
    return -(kept - flipped) / (1 - 2 * smoothing)


def hinge(pairs: Pairs, beta: float, smoothing: float) -> torch.Tensor:
    """SLiC's hinge on the scaled margin (Zhao et al. 2023, as normalised by Liu et al. 2024)."""
    scaled = beta * pairs.margin
    return (1 - smoothing) * torch.relu(1 - scaled) + smoothing * torch.relu(1 + scaled)


def ipo(pairs: Pairs, beta: float, smoothing: float) -> torch.Tensor:
    """IPO (Azar et al. 2023, eq. 17, with beta as tau) on log-ratios per token, as in the authors' experiments."""
    margin = pairs.chosen / pairs.chosen_tokens - pairs.rejected / pairs.rejected_tokens
    goal = 1 / (2 * beta)
    return (1 - smoothing) * (margin - goal) ** 2 + smoothing * (margin + goal) ** 2


Loss = Callable[[Pairs, float, float], torch.Tensor]
LOSSES: dict[str, Loss] = {"sigmoid": sigmoid, "robust": robust, "hinge": hinge, "ipo": ipo}


def reward_loss(
    chosen: torch.Tensor, rejected: torch.Tensor, margin: torch.Tensor | float = 0.0, centering: float = 0.0
) -> torch.Tensor:
    """Bradley-Terry with a margin (Touvron et al. 2023) and centring of the sum (Eisenstein et al. 2023)."""
    return -F.logsigmoid(chosen - rejected - margin) + centering * (chosen + rejected) ** 2
