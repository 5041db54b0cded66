"""What LoRA and DoRA share: the parameters of a low-rank update, and peft's configuration of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.deltas._peft import PeftDelta
from windtunnel.trainer.deltas._sized import SizedDelta

if TYPE_CHECKING:
    from peft import LoraConfig


class LowRankDelta(SizedDelta, PeftDelta):
    """Low-rank updates of linear layers through peft; vLLM serves both the saved adapter and the merged model."""

    dial: ClassVar = "rank"

    rank: int = Field(8, ge=1)
    alpha: float | None = Field(None, gt=0)  # None: twice the rank, which keeps the scale independent of the rank
    targets: str | list[str] = "all-linear"  # module names, or peft's "all-linear": all linear layers but the head
    rank_stabilised: bool = False  # alpha / sqrt(rank) (Kalajdzievski 2023)

    def low_rank(self, dora: bool) -> LoraConfig:
        """Return peft's configuration, with or without the separate magnitude of DoRA."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha if self.alpha is not None else 2 * self.rank,  # type: ignore[arg-type]
            target_modules=self.targets,
            lora_dropout=0.0,  # dropout masks depend on the batch shape, so paired runs would not match
            use_dora=dora,
            use_rslora=self.rank_stabilised,
        )
