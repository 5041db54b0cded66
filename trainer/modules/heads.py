"""The two parts of a causal language model: the body, which computes hidden states, and the output matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def hidden_states(model: PreTrainedModel, ids: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
    """Return the last hidden states [rows, positions, width] of token ids [rows, positions].

    Attention is causal over the whole row; for packed rows pass `attention_mask` and `position_ids` in `more`.
    """
    from windtunnel.trainer.modules import fused_llama

    if not more and fused_llama.fits(model, ids.shape[1]):
        return fused_llama.hidden_states(model, ids)
    return body(model)(input_ids=ids, use_cache=False, **more).last_hidden_state


def output_weight(model: PreTrainedModel) -> torch.Tensor:
    """Return the output matrix [vocabulary, width]. Raises TypeError if the head is more than a matrix."""
    head = model.get_output_embeddings()
    if getattr(head, "bias", None) is not None or type(head).__name__ != "Linear":
        raise TypeError(f"the head of {type(model).__name__} is not a single matrix: use its logits instead")
    return head.weight  # type: ignore[return-value]


def masked_head(model: PreTrainedModel, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the output matrix of a masked language model is applied to [n, width + 1], and that matrix.

    hidden [n, width] are last hidden states of the body. The head's bias is the last column of the matrix, which meets
    a one. Raises TypeError for a head that is not BERT's.
    """
    import torch

    predictions = getattr(getattr(model, "cls", None), "predictions", None)
    if predictions is None:
        raise TypeError(f"the head of {type(model).__name__} is not that of BERT")
    states = predictions.transform(hidden)
    decoder = predictions.decoder
    states = torch.cat([states, states.new_ones(len(states), 1)], 1)
    return states, torch.cat([decoder.weight, decoder.bias[:, None]], 1)


def body(model: PreTrainedModel) -> torch.nn.Module:
    """Return the module below the head, of a plain model or of one with a delta; of T5, which has none, the model."""
    unwrap: Any = getattr(model, "get_base_model", None)  # peft wraps the model
    plain = model if unwrap is None else unwrap()
    return getattr(plain, plain.base_model_prefix, plain)
