"""Full fine-tuning: trains every weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from windtunnel.trainer.deltas._delta import Change, Delta

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Full(Delta):
    """Trains the whole model, as without `delta:`, under a name that comparisons can show."""

    trains: ClassVar = "all"
    change: ClassVar = Change("all", "parallel", "add", "(W' - W) x")

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with all weights trainable."""
        return model.requires_grad_(True)

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model unchanged."""
        return model
