"""Prefix tuning (Li and Liang 2021): trained keys and values before the text in every layer, through peft."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.deltas._delta import Change
from windtunnel.trainer.deltas._peft import PeftDelta
from windtunnel.trainer.deltas._sized import SizedDelta

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class Prefix(SizedDelta, PeftDelta):
    """`length` trained positions; rows are padded, not packed, because each row needs its own prefix."""

    mergeable: ClassVar = False
    shares_bins: ClassVar = False
    dial: ClassVar = "length"
    change: ClassVar = Change("attention", "parallel", "gate", "softmax(q P_k) P_v")

    examples: ClassVar = ({"length": 3}, {"length": 3, "projection": True})

    length: int = Field(16, ge=1)
    projection: bool = False  # reparametrise by a two-layer network, as the paper does for stability

    @property
    def added_positions(self) -> int:
        return self.length

    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration."""
        from peft import PrefixTuningConfig, TaskType

        return PrefixTuningConfig(
            task_type=TaskType.CAUSAL_LM, num_virtual_tokens=self.length, prefix_projection=self.projection
        )
