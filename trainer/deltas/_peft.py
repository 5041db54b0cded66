"""What the deltas that peft implements share: its wrapper, its files, its way back."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.trainer.deltas._delta import Delta

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class PeftDelta(Delta):
    """A delta by its peft configuration."""

    @abstractmethod
    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration for this model."""

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return peft's wrapper around the model."""
        from peft import get_peft_model

        from windtunnel.trainer.runtime.quiet import quiet

        with quiet():
            wrapped: Any = get_peft_model(model, self.config(model))
        return wrapped

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the plain model with the difference added to its weights."""
        if not self.mergeable:
            raise NotImplementedError(f"{type(self).__name__} has no form in the base's own weights")
        wrapped: Any = model
        return wrapped.merge_and_unload()

    def base(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model below the wrapper."""
        wrapped: Any = model
        return wrapped.get_base_model() if not self.mergeable else wrapped.unload()

    def save(self, model: PreTrainedModel, out: Path) -> None:
        """Write the adapter in peft's format; the base's path is left out, for it means nothing elsewhere."""
        from windtunnel.trainer.deltas._files import save_adapter

        save_adapter(model, out)

    def attach(self, model: PreTrainedModel, path: Path) -> PreTrainedModel:
        """Return the base with the adapter of a directory."""
        from windtunnel.trainer.deltas._files import load_adapter

        return load_adapter(model, path)
