"""P-tuning (Liu et al. 2021): embeddings before the text that a trained network produces, through peft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.trainer.deltas._delta import Change
from windtunnel.trainer.deltas._peft import PeftDelta
from windtunnel.trainer.deltas._sized import SizedDelta

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class PTuning(SizedDelta, PeftDelta):
    """`length` trained positions; what is saved are the embeddings that the network produced, without the network."""

    mergeable: ClassVar = False
    shares_bins: ClassVar = False
    dial: ClassVar = "hidden"
    change: ClassVar = Change("input", "before", "gate", "network(embeddings P)")
    examples: ClassVar = ({"length": 3, "hidden": 8}, {"length": 3, "hidden": 8, "network": "lstm"})

    length: int = Field(16, ge=1)
    hidden: int = Field(64, ge=1)  # width of the network, which sets nearly all of the trained weights
    network: Literal["mlp", "lstm"] = "mlp"

    @property
    def added_positions(self) -> int:
        return self.length

    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration."""
        from peft import PromptEncoderConfig, TaskType

        kind: Any = self.network.upper()
        return PromptEncoderConfig(
            task_type=TaskType.CAUSAL_LM,
            num_virtual_tokens=self.length,
            encoder_hidden_size=self.hidden,
            encoder_reparameterization_type=kind,
        )
