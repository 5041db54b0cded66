"""The micro-batch that data sets pass to an objective's loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class Batch(NamedTuple):
    """One micro-batch."""

    tensors: dict[str, torch.Tensor]  # inputs of `Objective.loss`, named by the objective
    tokens: int  # tokens passed through the model without padding, for throughput and FLOPs
    documents: Sequence[str]  # ids of its rows or documents, reported when the loss is not finite
