"""IA3 (Liu et al. 2022): learnt factors on keys, values and the feed-forward part, through peft; merged on export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.trainer.deltas._peft import PeftDelta

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class Ia3(PeftDelta):
    """One factor per channel; where to put them peft knows for common architectures, or the recipe says."""

    targets: list[str] | None = None  # module names; None: what peft knows of the architecture
    feed_forward: list[str] | None = None  # those of `targets` whose input is scaled, not their output

    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration; a reward head trains in full, for it is new."""
        from peft import IA3Config

        return IA3Config(
            target_modules=self.targets,
            feedforward_modules=self.feed_forward,
            modules_to_save=["score"] if hasattr(model, "score") else None,
        )
