"""LoRA (Hu et al. 2021): W + (alpha / rank) B A on linear layers, through peft; merged on export."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.deltas._peft import PeftDelta

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class Lora(PeftDelta):
    """Low-rank differences to linear layers; vLLM serves the saved adapter as well as the merged model."""

    examples: ClassVar = (
        {"rank": 4},
        {"rank": 2, "dora": True},
    )

    rank: int = Field(8, ge=1)
    alpha: float | None = Field(None, gt=0)  # None: twice the rank, so that its scale does not move with it
    targets: str | list[str] = "all-linear"  # peft's words: module names, or all linear layers but the head
    dora: bool = False  # magnitude and direction apart (Liu et al. 2024)
    rank_stabilised: bool = False  # alpha / sqrt(rank) (Kalajdzievski 2023)

    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration; a reward head trains in full, for it is new."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha if self.alpha is not None else 2 * self.rank,  # type: ignore[arg-type]
            target_modules=self.targets,
            lora_dropout=0.0,  # a dropout's draws would differ with the batch's shape: paired runs would not pair
            use_dora=self.dora,
            use_rslora=self.rank_stabilised,
            modules_to_save=["score"] if hasattr(model, "score") else None,
        )
