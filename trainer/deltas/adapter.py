"""Adapters: a bottleneck after attention and feed-forward (Houlsby et al. 2019) or the latter (Pfeiffer 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.trainer.deltas._delta import Delta

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Adapter(Delta):
    """h + up(act(down(h))), with `up` zero at the start, so that training begins at the base model."""

    mergeable: ClassVar = False  # the bottleneck is not linear

    examples: ClassVar = (
        {"width": 4},
        {"width": 4, "places": "houlsby"},
    )

    width: int = Field(16, ge=1)
    places: Literal["houlsby", "pfeiffer"] = "pfeiffer"
    activation: Literal["gelu", "relu", "silu"] = "gelu"

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with frozen base and a bottleneck in every block."""
        from windtunnel.trainer.modules.blocks import blocks
        from windtunnel.trainer.modules.bottleneck import Bottleneck, after
        from windtunnel.trainer.modules.hooked import insert

        model.requires_grad_(False)
        size = model.config.hidden_size
        for block in blocks(model):
            for host in block if self.places == "houlsby" else (block.feed_forward,):
                added = Bottleneck(size, self.width, self.activation, scale=1.0)
                insert(host, added.to(model.device, model.dtype), after)
        return model

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Raise: a bottleneck with an activation has no form in the base's own weights."""
        raise NotImplementedError("adapters cannot be merged; the base and the delta's files are exported")

    def base(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with the bottlenecks taken out."""
        from windtunnel.trainer.modules.hooked import take_out

        take_out(model)
        return model
