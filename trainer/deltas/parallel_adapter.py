"""Parallel adapters (He et al. 2022): a scaled bottleneck beside the feed-forward part, reading what it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.trainer.deltas._delta import Delta

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ParallelAdapter(Delta):
    """ff(x) + scale up(act(down(x))), with `up` zero at the start, so that training begins at the base model."""

    mergeable: ClassVar = False

    examples: ClassVar = ({"width": 4},)

    width: int = Field(16, ge=1)
    scale: float = Field(4.0, gt=0)  # the paper's value for the feed-forward part
    activation: Literal["gelu", "relu", "silu"] = "relu"

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with frozen base and a bottleneck beside every feed-forward part."""
        from windtunnel.trainer.modules.blocks import blocks
        from windtunnel.trainer.modules.bottleneck import Bottleneck, beside
        from windtunnel.trainer.modules.hooked import insert

        model.requires_grad_(False)
        size = model.config.hidden_size
        for block in blocks(model):
            added = Bottleneck(size, self.width, self.activation, self.scale)
            insert(block.feed_forward, added.to(model.device, model.dtype), beside)
        return model

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Raise: a bottleneck with an activation has no form in the base's own weights."""
        raise NotImplementedError("adapters cannot be merged; the base and the delta's files are exported")

    def base(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with the bottlenecks taken out."""
        from windtunnel.trainer.modules.hooked import take_out

        take_out(model)
        return model
