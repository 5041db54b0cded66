"""The module of both adapters: down to a few channels, an activation, up again."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}


class Bottleneck(nn.Module):
    """scale x up(act(down(x))); `down` is drawn with standard deviation 0.01, `up` and the biases are zero."""

    def __init__(self, size: int, width: int, activation: str, scale: float):
        super().__init__()
        self.down, self.up = nn.Linear(size, width), nn.Linear(width, size)
        self.act, self.scale = ACTIVATIONS[activation], scale
        nn.init.normal_(self.down.weight, std=0.01)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * self.up(self.act(self.down(x)))


def after(added: nn.Module, given: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """Put the bottleneck behind a part, around a residual connection."""
    return output + added(output)


def beside(added: nn.Module, given: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """Put the bottleneck beside a part: it reads the part's input."""
    return output + added(given)
