"""Muon (Jordan et al. 2024): momentum whose update is orthogonalised, for the matrices inside the blocks.

Embeddings, head, norms and biases are AdamW's. Updates are scaled to the root mean square that AdamW's have, so that
AdamW's learning rate and weight decay fit both (Liu et al. 2025, arXiv 2502.16982).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from windtunnel.trainer.optimizers._optimizer import Optimizer, Trained
from windtunnel.trainer.optimizers.adamw import adamw

if TYPE_CHECKING:
    import torch


class Muon(Optimizer):
    """torch's Muon for the matrices of the blocks, AdamW for the rest."""

    momentum: float = Field(0.95, ge=0, lt=1)
    nesterov: bool = True
    iterations: int = Field(5, ge=1)  # of the Newton-Schulz method

    def build(self, trained: Trained) -> list[torch.optim.Optimizer]:
        import torch

        theirs = [name for name in trained.parameters if name not in trained.hidden]
        muon = torch.optim.Muon(
            [trained.parameters[name] for name in sorted(trained.hidden)],
            lr=trained.lr,
            weight_decay=trained.weight_decay,
            momentum=self.momentum,
            nesterov=self.nesterov,
            ns_steps=self.iterations,
            adjust_lr_fn="match_rms_adamw",
        )
        return [muon, *([adamw(trained, theirs)] if theirs else [])] if trained.hidden else [adamw(trained, theirs)]
