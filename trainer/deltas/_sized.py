"""Deltas whose size is one whole number, which is given or follows from the share of the weights that may train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import label
from windtunnel.trainer.deltas._delta import Delta

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LARGEST = 1 << 16


class SizedDelta(Delta):
    """A delta of which `dial` names the parameter that sets its size; the more of it, the more weights train."""

    dial: ClassVar[str] = "rank"

    # trained weights over those of the base model: takes the largest size not above it, and the size is not given then
    share: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _check_share(self) -> Self:
        if self.share is not None and getattr(self, self.dial) != type(self).model_fields[self.dial].default:
            raise ValueError(f"give `{self.dial}` or `share`, not both")
        return self

    def sized(self, model: PreTrainedModel) -> Delta:
        """Return the delta with its size in the place of `share`. Raises InputError if size 1 is above the share."""
        if self.share is None:
            return self
        total = sum(parameter.numel() for parameter in skeleton(model).parameters())
        most = int(self.share * total)

        def sizes(size: int) -> int:
            return _trained(self._of_size(size), model)

        if not 0 < (least := sizes(1)) <= most:
            raise InputError(
                f"`share: {self.share:g}` of {total:,} weights is {most:,}, and `{label(self)}` trains {least:,} "
                f"({least / total:.2%}) with the smallest `{self.dial}`, 1: ask for more, or name fewer layers"
            )
        low, high = 1, 2
        while high < LARGEST and sizes(high) <= most:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if sizes(middle) <= most else (low, middle)
        return self._of_size(low)

    def _of_size(self, size: int) -> Delta:
        return self.model_copy(update={self.dial: size, "share": None})


def skeleton(model: Any) -> PreTrainedModel:
    """Return a model of the same class and sizes without memory for its weights, and without a delta."""
    import torch

    unwrap: Any = getattr(model, "get_base_model", None)  # peft wraps the model
    plain = model if unwrap is None else unwrap()
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return type(plain)(plain.config)


def _trained(delta: Delta, model: Any) -> int:
    """Return how many weights a delta trains on a model, which stays as it is."""
    import torch

    with torch.random.fork_rng(devices=[]):  # what it draws is not part of the run
        return sum(parameter.numel() for parameter in delta.trainable(delta.apply(skeleton(model))).values())
