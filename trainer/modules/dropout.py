"""Disables dropout while a model trains and restores it afterwards, so that the saved configuration is unchanged.

transformers stores rates in Dropout modules, in plain attributes of layers (Llama's attention) and in the
configuration, which some layers read in every forward pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextlib.contextmanager
def no_dropout(model: PreTrainedModel) -> Iterator[None]:
    """Set every dropout rate of a model to zero within the block."""
    rates = list(_rates(model))
    try:
        for owner, name, _ in rates:
            setattr(owner, name, 0.0)
        yield
    finally:
        for owner, name, rate in rates:
            setattr(owner, name, rate)


def _rates(model: Any) -> Iterator[tuple[Any, str, float]]:
    """Yield (owner, attribute, rate) of every nonzero rate."""
    from torch.nn.modules.dropout import _DropoutNd

    modules = list(model.modules())
    configs = {id(config): config for m in modules if (config := getattr(m, "config", None)) is not None}
    inner = [part for config in configs.values() for part in vars(config).values() if hasattr(part, "to_dict")]
    configs |= {id(config): config for config in inner}
    for owner in (*modules, *configs.values()):
        for name, value in list(vars(owner).items()):
            named = "dropout" in name or "pdrop" in name or (name == "p" and isinstance(owner, _DropoutNd))
            if named and isinstance(value, float) and value > 0:
                yield owner, name, value
