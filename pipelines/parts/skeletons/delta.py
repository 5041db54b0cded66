"""Trains the norms of a model and freezes everything else.

In a recipe: `train: {stages: [{sft: {delta: ./new_part.py:NewPart}}]}`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from windtunnel.trainer.deltas._delta import Delta

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class NewPart(Delta):
    """Only weights whose name holds `part` train; they are the model's own, so that there is nothing to merge."""

    version: ClassVar[int] = 1  # raise it whenever the same data gives other weights
    trains: ClassVar = "chosen"  # of the model's weights; "added" where `apply` freezes these and brings its own
    # False where it cannot merge: then `base(model)`, in the place of `merge`, returns the model without the delta
    mergeable: ClassVar = True

    # Sets of parameters: `windtunnel check delta ./new_part.py:NewPart` tries each on a tiny model.
    examples: ClassVar = ({}, {"part": "input_layernorm"})

    part: str = "norm"  # of the names of weights

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with the delta; what trains requires gradients, and nothing else does."""
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(self.part in name)
        return model

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return a plain transformers model that computes the same."""
        return model
