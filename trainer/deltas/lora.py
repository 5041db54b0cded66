"""LoRA (Hu et al. 2021): W + (alpha / rank) B A on linear layers, through peft; merged on export."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from windtunnel.trainer.deltas._delta import Change
from windtunnel.trainer.deltas._low_rank import LowRankDelta

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class Lora(LowRankDelta):
    """h + (alpha / rank) B A x; B starts at zero, so that training starts from the base model."""

    change: ClassVar = Change("all linear", "parallel", "add", "(alpha / rank) B A x")
    examples: ClassVar = (
        {"rank": 4},
        {"rank": 2, "dora": True},
        {"share": 0.05},
    )

    dora: bool = False  # separate magnitude and direction (Liu et al. 2024), as the delta `dora`

    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration."""
        return self.low_rank(self.dora)
