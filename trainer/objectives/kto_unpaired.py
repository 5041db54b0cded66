"""KTO on single answers that are labelled desirable or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from windtunnel.trainer.data.batch import Batch
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.objectives._kto import KtoObjective
from windtunnel.trainer.objectives._objective import Setting

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class KtoUnpaired(KtoObjective):
    """KTO on conversations with a `label`: the last answer is learnt if it is true, and unlearnt if it is false.

    Conversations without a label, or longer than the context, are dropped and counted.
    """

    version: ClassVar[int] = 1

    def encoding(self, role: str) -> str:
        """Return `labelled` for the conversations to learn from; held-out ones are scored as by other stages."""
        return "unpaired" if role == self.kind else super().encoding(role)

    def extra(self, setting: Setting, model: PreTrainedModel, rows: Rows) -> dict[str, np.ndarray]:
        """Return also whether each answer is desirable."""
        return {**super().extra(setting, model, rows), "desirable": rows.desirable.to_numpy().astype(bool)}

    def desirable(self, batch: Batch, like: torch.Tensor) -> torch.Tensor:
        """Return the labels, [rows, 1]."""
        return batch.tensors["desirable"].to(like.device)[:, None]

    def metrics(self, rewards: torch.Tensor, kl: torch.Tensor, desirable: torch.Tensor) -> dict[str, Any]:
        """Return how often an answer is on its label's side of the reference point, and how far, by row."""
        beyond = (rewards - kl) * (2.0 * desirable - 1.0)
        return {"accuracy": (beyond > 0).sum(), "margin": beyond.sum()}
