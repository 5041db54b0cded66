"""Hidden states of an encoder and decoder, ready for its output matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def target_states(
    model: PreTrainedModel, inputs: torch.Tensor, targets: torch.Tensor, attended: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the decoder's states [rows, tokens, width] that predict targets [rows, tokens] from inputs [rows, tokens].

    `attended` bool: which tokens of the input are no padding; None: all. The decoder reads the targets shifted by one,
    after the model's start token. T5's states are scaled where its tied head asks for it.
    """
    whole: Any = model
    plain = whole.get_base_model() if hasattr(whole, "get_base_model") else whole  # peft wraps the model
    config = plain.config
    start = torch.full_like(targets[:, :1], config.decoder_start_token_id)
    encoded = plain.get_encoder()(input_ids=inputs, attention_mask=attended).last_hidden_state
    states = plain.get_decoder()(
        input_ids=torch.cat([start, targets[:, :-1]], 1),
        encoder_hidden_states=encoded,
        encoder_attention_mask=attended,
        use_cache=False,
    ).last_hidden_state
    return states * config.d_model**-0.5 if getattr(config, "scale_decoder_outputs", False) else states
