"""Ladder side tuning (Sung et al. 2022): a side network, without a backward pass through the frozen model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.deltas._delta import Change
from windtunnel.trainer.deltas._sized import SizedDelta

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Ladder(SizedDelta):
    """final_norm(h_L + side(h_0, ..., h_L)), with detached outputs h of the blocks; the side's output starts at zero.

    Activations of the model's blocks are not kept for a backward pass, which saves their memory and time. The side
    network works on each position by itself, unlike the paper's: positions meet in the model's attention, whose masks
    and caches stay as they are.
    """

    mergeable: ClassVar = False
    dial: ClassVar = "width"
    change: ClassVar = Change("output", "parallel", "add", "side(h_0, ..., h_L)")
    examples: ClassVar = ({"width": 4}, {"share": 0.1})

    width: int = Field(32, ge=1)  # of the side network

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with frozen base weights and a side network. Raises InputError if it has no final norm."""
        from windtunnel.trainer.modules.ladder import insert_ladder

        model.requires_grad_(False)
        insert_ladder(model, self.width)
        return model

    def base(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model without the side network."""
        from windtunnel.trainer.modules.hooked import remove_inserted

        remove_inserted(model)
        return model
