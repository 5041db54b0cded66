"""LoRA (Hu et al. 2021): W + (alpha / rank) B A on linear layers, through peft; merged on export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from trainer.delta import Delta

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Lora(Delta):
    """Low-rank differences to linear layers; vLLM serves the saved adapter as well as the merged model."""

    rank: int = Field(8, ge=1)
    alpha: float | None = Field(None, gt=0)  # None: twice the rank, so that its scale does not move with it
    targets: str | list[str] = "all-linear"  # peft's words: module names, or all linear layers but the head
    dora: bool = False  # magnitude and direction apart (Liu et al. 2024)
    rank_stabilised: bool = False  # alpha / sqrt(rank) (Kalajdzievski 2023)

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return peft's wrapper; a reward head trains in full, for it is new."""
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha if self.alpha is not None else 2 * self.rank,  # type: ignore[arg-type]
            target_modules=self.targets,
            lora_dropout=0.0,  # a dropout's draws would differ with the batch's shape: paired runs would not pair
            use_dora=self.dora,
            use_rslora=self.rank_stabilised,
            modules_to_save=["score"] if hasattr(model, "score") else None,
        )
        wrapped: Any = get_peft_model(model, config)
        return wrapped

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the plain model with the differences added to its weights."""
        wrapped: Any = model
        return wrapped.merge_and_unload()

    def save(self, model: PreTrainedModel, out: Path) -> None:
        """Write the adapter in peft's format; the base's path is left out, for it means nothing elsewhere."""
        from trainer.peft_files import save_adapter

        save_adapter(model, out)
