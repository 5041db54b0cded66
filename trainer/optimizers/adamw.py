"""AdamW (Loshchilov and Hutter 2019), as torch's fused kernel; `betas`, `eps`, `weight_decay` are the objective's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.trainer.optimizers._optimizer import Optimizer, Trained

if TYPE_CHECKING:
    import torch


class AdamW(Optimizer):
    """One AdamW for all parameters."""

    def build(self, trained: Trained) -> list[torch.optim.Optimizer]:
        return [adamw(trained, list(trained.parameters))]


def adamw(trained: Trained, names: list[str]) -> torch.optim.Optimizer:
    """Return torch's fused AdamW over the parameters of some names."""
    import torch

    settings = {"lr": float(trained.lr), "betas": trained.betas, "eps": trained.eps}
    return torch.optim.AdamW(trained.groups(names), **settings, fused=True)  # type: ignore[arg-type]
