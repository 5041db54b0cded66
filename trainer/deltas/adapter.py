"""Adapters: bottlenecks after attention and feed-forward (Houlsby et al. 2019) or the latter (Pfeiffer 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from windtunnel.trainer.deltas._bottleneck import BottleneckDelta
from windtunnel.trainer.deltas._delta import Change

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Adapter(BottleneckDelta):
    """h + up(act(down(h))), with `up` initialised to zero, so that training starts from the base model."""

    change: ClassVar = Change("ffn", "sequential", "add", "up(act(down(h))); `houlsby` acts on attention too")
    examples: ClassVar = (
        {"width": 4},
        {"width": 4, "places": "houlsby"},
        {"share": 0.05},
    )

    places: Literal["houlsby", "pfeiffer"] = "pfeiffer"
    activation: Literal["gelu", "relu", "silu"] = "gelu"

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with frozen base weights and a bottleneck in every block."""
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
