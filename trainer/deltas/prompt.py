"""Prompt tuning (Lester et al. 2021): learnt embeddings before the text, through peft."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.deltas._peft import PeftDelta

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class Prompt(PeftDelta):
    """`length` learnt positions; rows are padded, not packed, since each needs the prompt of its own."""

    mergeable: ClassVar = False
    shares_bins: ClassVar = False

    examples: ClassVar = ({"length": 3},)

    length: int = Field(16, ge=1)

    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration."""
        from peft import PromptTuningConfig, TaskType

        return PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=self.length)
