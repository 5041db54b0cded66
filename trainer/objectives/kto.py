"""KTO on preference pairs: every chosen answer is desirable by itself, every rejected one is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.objectives._kto import KtoObjective

if TYPE_CHECKING:
    import torch


class Kto(KtoObjective):
    """KTO on pairs, whose answers are not compared with each other; `kto_unpaired` learns from single answers."""

    version: ClassVar[int] = 1
    kind: ClassVar = "preferences"

    def desirable(self, batch: Batch, like: torch.Tensor) -> torch.Tensor:
        """Return [[True, False], ...]."""
        import torch

        return torch.tensor([True, False], device=like.device).expand_as(like)

    def metrics(self, rewards: torch.Tensor, kl: torch.Tensor, desirable: torch.Tensor) -> dict[str, Any]:
        """Return those of pairs."""
        from windtunnel.trainer.losses.preference import pair_metrics

        return pair_metrics(rewards)
