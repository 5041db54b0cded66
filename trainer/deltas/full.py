"""No delta: every weight trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from windtunnel.trainer.deltas._delta import Delta

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Full(Delta):
    """The whole model trains; what `delta:` means when it is left out, with a name of its own for comparisons."""

    trains: ClassVar = "all"

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with all weights trainable."""
        return model.requires_grad_(True)

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model: there is nothing to merge."""
        return model
