"""Prompt tuning (Lester et al. 2021): trained embeddings before the text, through peft."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.deltas._delta import Change
from windtunnel.trainer.deltas._peft import PeftDelta
from windtunnel.trainer.deltas._sized import SizedDelta

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class Prompt(SizedDelta, PeftDelta):
    """`length` trained positions; rows are padded, not packed, because each row needs its own prompt."""

    mergeable: ClassVar = False
    shares_bins: ClassVar = False
    dial: ClassVar = "length"
    change: ClassVar = Change("input", "before", "gate", "embeddings P")

    examples: ClassVar = ({"length": 3},)

    length: int = Field(16, ge=1)

    @property
    def added_positions(self) -> int:
        return self.length

    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration."""
        from peft import PromptTuningConfig, TaskType

        return PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=self.length)
