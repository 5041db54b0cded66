"""The bottleneck module of both adapters: a down-projection, an activation and an up-projection."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}


class Bottleneck(nn.Module):
    """scale x up(act(down(x))); `down` is initialised with standard deviation 0.01, `up` and the biases with zero."""

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
    """Apply the bottleneck to a layer's output, with a residual connection."""
    return output + added(output)


def beside(added: nn.Module, given: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    """Apply the bottleneck to a layer's input and add it to the output."""
    return output + added(given)
