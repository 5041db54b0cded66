"""Any method of peft that trains weights of its own and merges them, such as LoHa, OFT or FourierFT."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from windtunnel.schemas.errors import nearest
from windtunnel.trainer.deltas._delta import Change
from windtunnel.trainer.deltas._peft import PeftDelta

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel

# what does not fit by what it needs of a training loop; what peft cannot merge is refused by its own word
REFUSED = {
    "adalora": "it moves ranks between layers by a call after each step: use `sora`",
    "adaptionprompt": "it replaces attention modules and cannot be merged: use `prefix`",
    "beft": "it cannot be merged where a layer has no bias: use `bitfit`",
    "poly": "it needs the task of every row",
    "trainabletokens": "it trains rows of the embedding: use `full`",
    "xlora": "it needs LoRA adapters that are already trained",
}
OWN = {"prefixtuning": "prefix", "prompttuning": "prompt", "promptencoder": "p_tuning"}
SET_HERE = {
    "task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "modules_to_save",
}  # fmt: skip


class Peft(PeftDelta):
    """A method by the name of its configuration class in peft, without `Config`; parameters are those of the class.

    Where a method has no `target_modules` of its own for an architecture, all linear layers but the head are taken.
    """

    primary: ClassVar = "method"
    change: ClassVar = Change("by method", "by method", "by method", "see the method's paper")
    examples: ClassVar = (
        {"method": "LoHa", "params": {"r": 2}},
        {"method": "OFT", "params": {"oft_block_size": 8}},
        {"method": "LNTuning"},
    )

    method: str
    params: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_method(self) -> Peft:
        cls = _methods().get(self.method.lower())
        if cls is None:
            raise ValueError(f"peft has no method {self.method!r}: {nearest(self.method, _fitting())}")
        if reason := _refusal(self.method.lower(), cls):
            raise ValueError(f"{self.method} does not fit this trainer: {reason}")
        known = {field.name for field in dataclasses.fields(cls)} - SET_HERE
        for name in self.params:
            if name in SET_HERE:
                raise ValueError(f"`params.{name}` is set by the trainer: leave it out")
            if name not in known:
                raise ValueError(f"{cls.__name__} has no parameter {name!r}: {nearest(name, known)}")
        return self

    def config(self, model: PreTrainedModel) -> PeftConfig:
        """Return peft's configuration."""
        cls = _methods()[self.method.lower()]
        config = cls(**self.params)
        if getattr(config, "target_modules", 0) is None and not _has_default(cls, model):
            config = cls(**self.params, target_modules="all-linear")
        return config


def _methods() -> dict[str, Any]:
    """Return peft's configuration classes by their names in lower case, without `Config`."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    return {cls.__name__.removesuffix("Config").lower(): cls for cls in PEFT_TYPE_TO_CONFIG_MAPPING.values()}


def _fitting() -> list[str]:
    return [cls.__name__.removesuffix("Config") for name, cls in _methods().items() if not _refusal(name, cls)]


def _refusal(name: str, cls: Any) -> str | None:
    """Return why a method cannot be trained here, or None."""
    from peft.config import PromptLearningConfig

    if name in OWN:
        return f"use the delta `{OWN[name]}`"
    if issubclass(cls, PromptLearningConfig):
        return f"learnt positions are trained by the deltas {', '.join(OWN.values())}"
    return REFUSED.get(name) or ("peft cannot merge it into the model" if _unmergeable(_tuner(cls)) else None)


def _tuner(cls: Any) -> Any:
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    return PEFT_TYPE_TO_TUNER_MAPPING[cls().peft_type]


def _unmergeable(tuner: Any) -> bool:
    """Return whether peft's class of models, or one of its linear layers, refuses to be merged."""
    from importlib import import_module

    layers = vars(import_module(tuner.tuner_layer_cls.__module__)).values()
    kinds = [it for it in layers if isinstance(it, type) and issubclass(it, tuner.tuner_layer_cls)]
    linear = [kind.merge for kind in kinds if kind.__name__.endswith("Linear")]
    return any(_refuses(asked) for asked in [tuner._check_merge_allowed, *linear])


def _refuses(asked: Any) -> bool:
    try:
        asked(None)
    except NotImplementedError:
        return True
    except Exception:  # a method that merges fails on what it is given here
        return False
    return False


def _has_default(cls: Any, model: PreTrainedModel) -> bool:
    """Return whether peft knows which layers the method takes of this architecture."""
    return model.config.model_type in (getattr(_tuner(cls), "target_module_mapping", None) or {})
