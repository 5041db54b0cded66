"""DoRA (Liu et al. 2024): LoRA of a weight's direction, with a trained magnitude per output; merged on export."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from windtunnel.trainer.deltas._delta import Change
from windtunnel.trainer.deltas._low_rank import LowRankDelta

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class Dora(LowRankDelta):
    """m * (W + (alpha / rank) B A) / |W + (alpha / rank) B A| with norms of rows; m starts at the norms of W."""

    change: ClassVar = Change("all linear", "parallel", "scale", "m (W + s B A) x / |W + s B A| in place of W x")
    examples: ClassVar = ({"rank": 2},)

    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration."""
        return self.low_rank(dora=True)
