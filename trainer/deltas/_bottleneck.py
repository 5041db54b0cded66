"""Deltas that insert bottleneck adapters, which have no equivalent in the base model's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.deltas._sized import SizedDelta

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class BottleneckDelta(SizedDelta):
    """A delta of inserted `windtunnel.trainer.modules.bottleneck.Bottleneck` modules."""

    mergeable: ClassVar = False  # the bottleneck is not linear
    dial: ClassVar = "width"

    width: int = Field(16, ge=1)

    def base(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model without the bottlenecks."""
        from windtunnel.trainer.modules.hooked import remove_inserted

        remove_inserted(model)
        return model
