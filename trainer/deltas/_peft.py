"""The base class of the deltas that peft implements."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.weight_files import check_file
from windtunnel.trainer.deltas._delta import Delta
from windtunnel.trainer.runtime.quiet import quiet

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


class PeftDelta(Delta):
    """A delta defined by a peft configuration."""

    @abstractmethod
    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration for this model."""

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return peft's wrapper around the model."""
        from peft import get_peft_model

        with quiet():
            wrapped: Any = get_peft_model(model, self.config(model))
        return wrapped

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the plain model with the merged weights."""
        if not self.mergeable:
            return super().merge(model)  # raises
        wrapped: Any = model
        return wrapped.merge_and_unload()

    def base(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the base model inside the wrapper."""
        wrapped: Any = model
        return wrapped.get_base_model() if not self.mergeable else wrapped.unload()

    def save(self, model: PreTrainedModel, out: Path) -> None:
        """Write the adapter in peft's format, which vLLM reads too, without machine-specific paths."""
        wrapped: Any = model
        wrapped.get_base_model().name_or_path = None  # peft takes it where the configuration has no name
        for config in wrapped.peft_config.values():
            config.base_model_name_or_path = None
            config.revision = None
            for name, value in list(vars(config).items()):
                if isinstance(value, set):  # the iteration order of a set differs between processes
                    setattr(config, name, sorted(value))
        wrapped.save_pretrained(str(out), safe_serialization=True)
        (out / "README.md").unlink(missing_ok=True)  # peft's model card contains the path of the base

    def attach(self, model: PreTrainedModel, path: Path) -> PreTrainedModel:
        """Return the base model with the adapter of a directory.

        Trained positions that a network has produced (`projection`) come back without the network.
        """
        from peft import PeftModel

        if not (path / "adapter_model.safetensors").is_file():
            raise InputError(f"{path} has no adapter_model.safetensors; other formats can run code and are not read")
        check_file(path / "adapter_model.safetensors")
        with quiet():
            wrapped: Any = PeftModel.from_pretrained(model, str(path), local_files_only=True)
        if wrapped.active_peft_config.is_prompt_learning:
            wrapped.prompt_encoder.requires_grad_(True)
        return wrapped
