"""One micro-batch, as it goes from the data to an objective's loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class Batch(NamedTuple):
    """One micro-batch, ready for the model."""

    tensors: dict[str, torch.Tensor]  # what `Objective.loss` reads; names are the objective's own
    tokens: int  # tokens that pass through the model, padding not counted: throughput and FLOPs
    documents: Sequence[str]  # ids of the rows or documents in it; names the culprits of a non-finite loss
