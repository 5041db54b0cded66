"""The base class of deltas: parameter-efficient fine-tuning methods such as LoRA, adapters and prefixes.

A delta freezes the base weights, adds trainable parameters, and merges both into a plain model where the method allows
it. Checkpoints contain the delta's weights only. Modules of this directory import torch and peft inside functions, so
that recipes can be checked and planned without them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from windtunnel.schemas.artifact import canonical_json, write_text, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import Plugin, full_spec
from windtunnel.schemas.weight_files import check_file

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

WEIGHTS, CONFIG = "delta.safetensors", "delta.json"


class Delta(Plugin, ABC):
    """A parameter-efficient fine-tuning method: one file in trainer/deltas."""

    mergeable: ClassVar[bool] = True  # False: what `base` returns is exported, not what `merge` does
    shares_bins: ClassVar[bool] = True  # False: learnt positions stand before the text, so rows cannot be packed
    trains: ClassVar[Literal["added", "chosen", "all"]] = "added"  # weights of its own, some of the base's, or all
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)  # parameters that `windtunnel check delta NAME` tries

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        # checked now, since they are called after the last step only
        if cls.mergeable and cls.merge is Delta.merge:
            raise TypeError(f"{cls.__name__} must define `merge`, or set `mergeable = False` and define `base`")
        if not cls.mergeable and cls.base is Delta.base:
            raise TypeError(
                f"{cls.__name__} is not mergeable, so the model without it is exported: define `base(model)`, which "
                "takes the delta off and returns the plain model"
            )

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return which weights train, whether it merges into the base's, and whether rows can be packed."""
        return {"trains": cls.trains, "mergeable": cls.mergeable, "shares_bins": cls.shares_bins}

    @abstractmethod
    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with frozen base weights and the delta's trainable parameters.

        New weights are drawn from torch's global generator, which the loop seeds from the run's seed.
        """

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return an equivalent plain transformers model; `model` is not usable afterwards."""
        raise NotImplementedError(f"{type(self).__name__} cannot be merged into the base weights")

    def base(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the plain model without the delta; `model` is not usable afterwards."""
        raise NotImplementedError(f"{type(self).__name__} is merged, not removed")

    def trainable(self, model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
        """Return the trainable parameters by name, which are those of a checkpoint."""
        return {name: p for name, p in model.named_parameters() if p.requires_grad}

    def after_step(self, model: PreTrainedModel, step: int) -> None:
        """Update the weights after optimiser step `step`, e.g. by a proximal step; does nothing by default."""

    def save(self, model: PreTrainedModel, out: Path) -> None:
        """Write the delta into `out`: its weights as safetensors and its parameters as JSON."""
        from safetensors.torch import save_file

        tensors = {name: p.detach().cpu().contiguous() for name, p in self.trainable(model).items()}
        with writing(out / WEIGHTS) as partial:
            save_file(tensors, partial)
        write_text(out / CONFIG, canonical_json(full_spec(self)))

    def attach(self, model: PreTrainedModel, path: Path) -> PreTrainedModel:
        """Return the base model with the delta that `save` wrote into `path`, for inference.

        Raises InputError if the weights belong to another delta.
        """
        import torch
        from safetensors.torch import load_file

        check_file(path / WEIGHTS)
        model = self.apply(model)
        parameters, saved = self.trainable(model), load_file(path / WEIGHTS)
        if {n: p.shape for n, p in parameters.items()} != {n: t.shape for n, t in saved.items()}:
            raise InputError(f"{path / WEIGHTS} does not fit: it was made with other parameters or another base model")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(saved[name])
        return model
