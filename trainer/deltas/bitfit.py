"""BitFit (Ben Zaken et al. 2021): trains biases only; a model without biases gets zero biases first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.deltas._delta import Change, Delta

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Configuration fields that enable biases of an architecture's linear layers, so that the exported model loads.
SWITCHES = {"llama": ("attention_bias", "mlp_bias")}


class Bitfit(Delta):
    """Trains every bias of the model; Llama gets biases in attention and feed-forward, which its class supports."""

    change: ClassVar = Change("all linear", "parallel", "add", "b")

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with trainable biases only. Raises InputError if the architecture does not support any."""
        model.requires_grad_(False)
        if not any(name.endswith("bias") for name, _ in model.named_parameters()):
            _add_biases(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("bias") or name.startswith("score."))
        return model

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model unchanged: biases are ordinary weights."""
        return model


def _add_biases(model: Any) -> None:
    import torch
    from torch import nn

    from windtunnel.trainer.modules.blocks import linears

    kind = model.config.model_type
    if kind not in SWITCHES:
        raise InputError(
            f"{kind!r} has no biases and its class in transformers does not support them; use another delta"
        )
    for linear in linears(model).values():
        zeros = torch.zeros(linear.out_features, dtype=linear.weight.dtype, device=linear.weight.device)
        linear.bias = nn.Parameter(zeros)
    for switch in SWITCHES[kind]:
        setattr(model.config, switch, True)
