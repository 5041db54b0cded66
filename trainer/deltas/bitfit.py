"""BitFit (Ben Zaken et al. 2021): only biases train; in a model without any, zero biases are added first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.trainer.deltas._delta import Delta

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Configuration words that give an architecture's linear layers biases, so that the merged model loads as a plain one.
SWITCHES = {"llama": ("attention_bias", "mlp_bias")}


class Bitfit(Delta):
    """Trains every bias of the model; Llama gets them in attention and feed-forward, which its own class can hold."""

    def apply(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model with biases alone trainable. Raises InputError for an architecture that can have none."""
        model.requires_grad_(False)
        if not any(name.endswith("bias") for name, _ in model.named_parameters()):
            _add_biases(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("bias") or name.startswith("score."))
        return model

    def merge(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the model: biases are weights of its own."""
        return model


def _add_biases(model: Any) -> None:
    import torch
    from torch import nn

    from windtunnel.schemas.errors import InputError
    from windtunnel.trainer.modules.blocks import linears

    kind = model.config.model_type
    if kind not in SWITCHES:
        raise InputError(
            f"{kind!r} has no biases, and its class in transformers cannot be given any; use another delta"
        )
    for linear in linears(model).values():
        zeros = torch.zeros(linear.out_features, dtype=linear.weight.dtype, device=linear.weight.device)
        linear.bias = nn.Parameter(zeros)
    for switch in SWITCHES[kind]:
        setattr(model.config, switch, True)
