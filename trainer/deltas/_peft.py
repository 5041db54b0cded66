"""The base class of the deltas that peft implements."""

from __future__ import annotations

import re
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import label
from windtunnel.schemas.weight_files import check_file
from windtunnel.trainer.deltas._delta import Delta
from windtunnel.trainer.runtime.quiet import quiet

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel


# fields of configurations that name layers, and the parameter that they are given as where it has another name
NAMING = {"target_modules": "targets", "feedforward_modules": "feed_forward", "exclude_modules": "exclude_modules"}


def require_named(config: PeftConfig, model: PreTrainedModel) -> None:
    """Raise InputError for a layer that a configuration names and the model has not, with the nearest right name.

    A single word is a regular expression for peft, or `all-linear`.
    """
    from windtunnel.trainer.modules.blocks import require_layers

    layers = [name for name, module in model.named_modules() if getattr(module, "weight", None) is not None]
    for field, parameter in NAMING.items():
        given = getattr(config, field, None) or ()
        if isinstance(given, str):
            found = given == "all-linear" or any(re.fullmatch(given, name) for name, _ in model.named_modules())
            given = () if found else (given,)
        require_layers(sorted(given), layers, parameter)


class PeftDelta(Delta):
    """A delta defined by a peft configuration."""

    @abstractmethod
    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration for this model."""

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return peft's wrapper around the model."""
        from peft import get_peft_model

        with quiet():
            try:
                config: Any = self.config(model)
                require_named(config, model)
                if hasattr(model, "score"):
                    config.modules_to_save = ["score"]  # a newly added reward head is trained completely
                wrapped: Any = get_peft_model(model, config)
            except (ValueError, TypeError) as error:  # of peft: what it is given does not fit the model
                raise InputError(f"{label(self)}: {error}") from error
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
