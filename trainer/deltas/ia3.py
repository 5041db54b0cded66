"""IA3 (Liu et al. 2022): trained factors on keys, values and feed-forward layers, through peft; merged on export."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from windtunnel.trainer.deltas._delta import Change
from windtunnel.trainer.deltas._peft import PeftDelta

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class Ia3(PeftDelta):
    """One factor per channel of the target modules; peft has defaults for common architectures."""

    change: ClassVar = Change("attention and ffn", "sequential", "scale", "l * h, or l * x before a feed-forward layer")

    targets: list[str] | None = None  # module names; None: peft's default for the architecture
    feed_forward: list[str] | None = None  # the `targets` whose input is scaled instead of their output

    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration."""
        from peft import IA3Config

        return IA3Config(
            target_modules=self.targets,
            feedforward_modules=self.feed_forward,
        )
