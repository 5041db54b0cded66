"""LoRA (Hu et al. 2021): W + (alpha / rank) B A on linear layers, through peft; merged on export."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.deltas._peft import PeftDelta

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class Lora(PeftDelta):
    """Low-rank updates of linear layers; vLLM serves both the saved adapter and the merged model."""

    examples: ClassVar = (
        {"rank": 4},
        {"rank": 2, "dora": True},
    )

    rank: int = Field(8, ge=1)
    alpha: float | None = Field(None, gt=0)  # None: twice the rank, which keeps the scale independent of the rank
    targets: str | list[str] = "all-linear"  # module names, or peft's "all-linear": all linear layers but the head
    dora: bool = False  # separate magnitude and direction (Liu et al. 2024)
    rank_stabilised: bool = False  # alpha / sqrt(rank) (Kalajdzievski 2023)

    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration; a newly added reward head is trained completely."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha if self.alpha is not None else 2 * self.rank,  # type: ignore[arg-type]
            target_modules=self.targets,
            lora_dropout=0.0,  # dropout masks depend on the batch shape, so paired runs would not match
            use_dora=self.dora,
            use_rslora=self.rank_stabilised,
            modules_to_save=["score"] if hasattr(model, "score") else None,
        )
