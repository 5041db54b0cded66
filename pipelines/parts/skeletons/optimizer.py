"""Momentum whose step has the sign of every entry, the same for all parameters.

In a recipe: `train: {stages: [{causal_lm: {optimizer: {./new_part.py:NewPart: {momentum: 0.9}}}}]}`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.trainer.optimizers._optimizer import Optimizer, Trained

if TYPE_CHECKING:
    import torch


class NewPart(Optimizer):
    """Sign descent with momentum (Signum, Bernstein et al. 2018); it wants a tenth of AdamW's learning rate."""

    version: ClassVar[int] = 1  # raise it whenever the same parameters give other updates

    # Parameters that `windtunnel check optimizer ./new_part.py:NewPart` tries.
    examples: ClassVar = ({}, {"momentum": 0.5})

    momentum: float = Field(0.9, ge=0, lt=1)

    def build(self, trained: Trained) -> list[torch.optim.Optimizer]:
        """Return optimizers of torch that update every parameter once; the loop sets the rate of every group."""
        import torch

        class Signum(torch.optim.Optimizer):
            @torch.no_grad()
            def step(self, closure: Any = None) -> None:
                for group in self.param_groups:
                    for p in group["params"]:
                        if p.grad is None:
                            continue
                        mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                        mean.lerp_(p.grad, 1 - group["momentum"])
                        p.mul_(1 - group["lr"] * group["weight_decay"]).add_(mean.sign(), alpha=-group["lr"])

        groups = trained.groups(list(trained.parameters))
        return [Signum(groups, {"lr": trained.lr, "momentum": self.momentum, "weight_decay": 0.0})]
