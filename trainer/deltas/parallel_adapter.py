"""Parallel adapters (He et al. 2022): a scaled bottleneck parallel to the feed-forward layer, with the same input."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.trainer.deltas._bottleneck import BottleneckDelta
from windtunnel.trainer.deltas._delta import Change

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ParallelAdapter(BottleneckDelta):
    """ff(x) + scale up(act(down(x))), with `up` initialised to zero, so that training starts from the base model."""

    change: ClassVar = Change("ffn", "parallel", "add", "scale up(act(down(x)))")
    examples: ClassVar = ({"width": 4},)

    scale: float = Field(4.0, gt=0)  # the paper's value for feed-forward layers
    activation: Literal["gelu", "relu", "silu"] = "relu"

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with frozen base weights and a bottleneck parallel to every feed-forward layer."""
        from windtunnel.trainer.modules.blocks import blocks
        from windtunnel.trainer.modules.bottleneck import Bottleneck, beside
        from windtunnel.trainer.modules.hooked import insert

        model.requires_grad_(False)
        size = model.config.hidden_size
        for block in blocks(model):
            added = Bottleneck(size, self.width, self.activation, self.scale)
            insert(block.feed_forward, added.to(model.device, model.dtype), beside)
        return model
