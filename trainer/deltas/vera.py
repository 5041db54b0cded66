"""VeRA (Kopiczko et al. 2024): LoRA with frozen random matrices, of which two vectors per layer are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.trainer.deltas._delta import Change
from windtunnel.trainer.deltas._peft import PeftDelta
from windtunnel.trainer.deltas._sized import SizedDelta

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class Vera(SizedDelta, PeftDelta):
    """h + b * (B (d * (A x))), through peft: A and B are random, one pair for all layers; b starts at zero.

    The matrices are drawn from a key that the run's seed gives, which peft saves; by default it saves them too.
    """

    dial: ClassVar = "rank"
    change: ClassVar = Change("all linear", "parallel", "add", "b * (B (d * (A x)))")
    examples: ClassVar = ({"rank": 16}, {"rank": 16, "save_projections": False}, {"share": 0.05})

    rank: int = Field(256, ge=1)
    targets: str | list[str] = "all-linear"  # module names, or peft's "all-linear": all linear layers but the head
    initial: float = 0.1  # value at which d starts, as in the paper
    save_projections: bool = True  # False: the files hold the key, and other versions of torch may draw otherwise

    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration, with a key from torch's global generator."""
        import torch
        from peft import VeraConfig

        return VeraConfig(
            r=self.rank,
            target_modules=self.targets,
            d_initial=self.initial,
            projection_prng_key=int(torch.randint(1 << 31, ())),
            save_projection=self.save_projections,
        )
