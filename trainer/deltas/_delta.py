"""The base class of deltas: parameter-efficient fine-tuning methods such as LoRA, adapters and prefixes.

A delta freezes the base weights, adds trainable parameters, and merges both into a plain model where the method allows
it. Checkpoints contain the delta's weights only.

A delta that cannot be merged travels with its base: the exported directory holds the base in transformers' format and
the delta in `delta/`, and `windtunnel.trainer.models._model.load` returns the model with the delta. In the
next stage, the same delta trains on; without a delta, or with `full`, the base's weights and the delta's train
together; any other delta is refused, since there is no plain model that it could be put on.

Modules of this directory import torch and peft inside functions, so that recipes can be checked and planned without
them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from windtunnel.schemas.artifact import canonical_json, write_text, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.model_delta import SPEC, Carried, set_carried
from windtunnel.schemas.plugin import Plugin, full_spec, label
from windtunnel.schemas.weight_files import check_file

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

WEIGHTS = "delta.safetensors"
HEAD = "score."  # a reward head trains with every delta: it is new, and belongs to the base's weights


class Change(NamedTuple):
    """What a method does to a hidden state, in the unified view of He et al. (2022, arXiv 2110.04366)."""

    where: Literal["attention", "ffn", "attention and ffn", "all linear", "input", "output", "all", "by method"]
    form: Literal[
        "sequential", "parallel", "before", "by method"
    ]  # of the insertion; before: positions before the text
    composition: Literal["add", "scale", "gate", "replace", "by method"]  # of the old state and the change
    function: str  # of the layer's input x, its output h, or its weight W


class Delta(Plugin, ABC):
    """A parameter-efficient fine-tuning method: one file in trainer/deltas."""

    change: ClassVar[Change | None] = None  # every built-in method states it
    mergeable: ClassVar[bool] = True  # False: what `base` returns is exported, with the delta beside it
    shares_bins: ClassVar[bool] = True  # False: learnt positions stand before the text, so rows cannot be packed
    trains: ClassVar[Literal["added", "chosen", "all"]] = "added"  # weights of its own, some of the base's, or all
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)  # parameters that `windtunnel check delta NAME` tries

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        # checked now, since they are called after the last step only
        if cls.__abstractmethods__:
            return  # a base class of others
        if cls.mergeable and cls.merge is Delta.merge:
            raise TypeError(f"{cls.__name__} must define `merge`, or set `mergeable = False` and define `base`")
        if not cls.mergeable and cls.base is Delta.base:
            raise TypeError(
                f"{cls.__name__} is not mergeable, so it is exported beside its base: define `base(model)`, which "
                "takes the delta off and returns the plain model"
            )

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return what it changes, which weights train, whether it merges into the base's, and if rows can be packed."""
        change = [cls.change._asdict()] if cls.change is not None else []
        return {"trains": cls.trains, "mergeable": cls.mergeable, "shares_bins": cls.shares_bins, "change": change}

    @property
    def added_positions(self) -> int:
        """Positions that stand before the text, which the text cannot have."""
        return 0

    def refusal(self, earlier: Delta) -> str | None:
        """Return why this delta cannot train on a model that carries another, in words with the mend, or None."""
        if self.trains == "all" or full_spec(self) == full_spec(earlier):
            return None
        return (
            f"the model carries the delta {label(earlier)!r} of an earlier stage, which is not merged, and "
            f"{label(self)!r} cannot train on top of it: go on with the same delta and parameters, or with none (the "
            "base's weights and the delta's train together), or begin with a delta that is merged, such as `lora`"
        )

    def sized(self, model: PreTrainedModel) -> Delta:
        """Return the delta with the size that it has on this model, where a share is asked for; itself by default."""
        return self

    @abstractmethod
    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with frozen base weights and the delta's trainable parameters.

        New weights are drawn from torch's global generator, which the loop seeds from the run's seed.
        """

    def put_on(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return what `apply` does, in which a reward head trains too. Raises InputError if nothing of it trains."""
        model = self.apply(model)
        if not self.trainable(model):
            raise InputError(f"{label(self)!r} finds no layer in {type(model).__name__} that it could train")
        head: Any = getattr(model, HEAD.rstrip("."), None)
        if head is not None and not any(p.requires_grad for p in head.parameters()):
            head.requires_grad_(True)
        return model

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
        write_text(out / SPEC, canonical_json(full_spec(self)))

    def attach(self, model: PreTrainedModel, path: Path) -> PreTrainedModel:
        """Return the base model with the delta that `save` wrote into `path`, whose weights train.

        Raises InputError if the weights belong to another delta.
        """
        import torch
        from safetensors.torch import load_file

        check_file(path / WEIGHTS)
        model, saved = self.put_on(model), load_file(path / WEIGHTS)
        trains = self.trainable(model)
        parameters = {n: p for n, p in trains.items() if n in saved or not n.startswith(HEAD)}
        # a head of labels is among the base's weights too, and a language model is loaded without it
        saved = {n: tensor for n, tensor in saved.items() if n in trains or not n.startswith(HEAD)}
        if {n: p.shape for n, p in parameters.items()} != {n: t.shape for n, t in saved.items()}:
            raise InputError(f"{path / WEIGHTS} does not fit: it was made with other parameters or another base model")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(saved[name])
        return model

    def carry(self, model: PreTrainedModel, path: Path) -> PreTrainedModel:
        """Return what `attach` does, marked as a model that carries this delta."""
        model = self.attach(model, path)
        if not (own := frozenset(name for name in self.trainable(model) if not name.startswith(HEAD))):
            raise InputError(f"{type(self).__name__} is carried on, but nothing of it trains after `attach`")
        set_carried(model, Carried(self, own))
        return model
