"""The module of SoRA: a low-rank update with a trained gate per rank."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F


class GatedLowRank(nn.Module):
    """scale x B (g * (A x)): A initialised as in LoRA, B with zero, the gates g from a standard normal distribution."""

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float):
        super().__init__()
        self.down, self.up = nn.Parameter(torch.empty(rank, inputs)), nn.Parameter(torch.zeros(outputs, rank))
        self.gate = nn.Parameter(torch.randn(rank))
        self.scale = scale
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * F.linear(F.linear(x, self.down) * self.gate, self.up)

    def difference(self) -> torch.Tensor:
        """Return the update of the layer's weight, [outputs, inputs]."""
        return self.scale * (self.up * self.gate) @ self.down

    @torch.no_grad()
    def shrink(self, threshold: float) -> None:
        """Apply the proximal step of an L1 penalty: soft-threshold the gates."""
        if threshold > 0:
            self.gate.copy_(F.softshrink(self.gate, threshold))
