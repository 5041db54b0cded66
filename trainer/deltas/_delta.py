"""Training a small difference to a model: the base of trainer/deltas (LoRA, adapters, prefixes, gates, ...).

A delta freezes the base weights, adds its own, and says how the two become one plain model again. Checkpoints hold the
delta's weights only; the exported model is merged where the method can merge.

Modules of this folder import torch and peft inside functions, so that recipes are checked and planned without them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from windtunnel.schemas.artifact import canonical_json, write_text, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import Plugin, full_spec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

WEIGHTS, CONFIG = "delta.safetensors", "delta.json"


class Delta(Plugin, ABC):
    """A parameter-efficient difference to a model: one file in trainer/deltas."""

    mergeable: ClassVar[bool] = True  # False: `merge` raises, and the export is the base plus the delta's own files
    shares_bins: ClassVar[bool] = True  # False: learnt positions stand before the text, so rows cannot be packed
    trains: ClassVar[Literal["added", "chosen", "all"]] = "added"  # weights of its own, some of the base's, or all
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)  # parameters that `windtunnel check delta NAME` tries

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return which weights train, whether it merges into the base's, and whether rows can be packed."""
        return {"trains": cls.trains, "mergeable": cls.mergeable, "shares_bins": cls.shares_bins}

    @abstractmethod
    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with the base frozen and the delta's parameters added (they alone require gradients).

        New weights draw from torch's global generator, which the loop has seeded from the run's seed.
        """

    @abstractmethod
    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return a plain transformers model that computes what `model` computes; raises for one that cannot merge."""

    def base(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the plain model without the delta; `model` is not usable afterwards."""
        raise NotImplementedError(f"{type(self).__name__} is merged, not taken off")

    def trainable(self, model: PreTrainedModel) -> dict[str, torch.nn.Parameter]:
        """Return the parameters that train, by name; a checkpoint holds these and their optimiser state."""
        return {name: p for name, p in model.named_parameters() if p.requires_grad}

    def after_step(self, model: PreTrainedModel, step: int) -> None:
        """Act on the weights after optimiser step `step`, e.g. a proximal shrinkage; nothing by default."""

    def save(self, model: PreTrainedModel, out: Path) -> None:
        """Write the delta alone into `out`: safetensors, and JSON with what `attach` needs to know."""
        from safetensors.torch import save_file

        tensors = {name: p.detach().cpu().contiguous() for name, p in self.trainable(model).items()}
        with writing(out / WEIGHTS) as partial:
            save_file(tensors, partial)
        write_text(out / CONFIG, canonical_json(full_spec(self)))

    def attach(self, model: PreTrainedModel, path: Path) -> PreTrainedModel:
        """Return the base model with the delta that `save` wrote into `path`, to be run.

        Raises InputError when the weights are not this delta's.
        """
        import torch
        from safetensors.torch import load_file

        model = self.apply(model)
        mine, saved = self.trainable(model), load_file(path / WEIGHTS)
        if {n: p.shape for n, p in mine.items()} != {n: t.shape for n, t in saved.items()}:
            raise InputError(f"{path / WEIGHTS} does not fit: it was made with other parameters or on another base")
        with torch.no_grad():
            for name, parameter in mine.items():
                parameter.copy_(saved[name])
        return model
