"""The two parts of a causal language model: the body, which computes hidden states, and the output matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def hidden_states(
    model: PreTrainedModel,
    ids: torch.Tensor,
    position_ids: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the last hidden states [rows, positions, width] of token ids [rows, positions].

    Attention is causal over the whole row; packed rows have `position_ids` and an additive `attention_mask`.
    """
    from windtunnel.trainer.modules import llama

    trunk: Any = body(model)
    if llama.fits(trunk) and not learns_positions(model):
        return llama.hidden_states(trunk, ids, position_ids, attention_mask)
    more = {"position_ids": position_ids, "attention_mask": attention_mask}
    return body_output(model, ids, **{k: t for k, t in more.items() if t is not None}).last_hidden_state


def body_output(model: Any, ids: torch.Tensor, **more: Any) -> Any:
    """Return what the body gives for token ids [rows, positions].

    Trained positions that a delta inserts before the text are part of the input; `last_hidden_state` is without them.
    """
    if not learns_positions(model):
        return body(model)(input_ids=ids, use_cache=False, **more)
    found: list[Any] = []
    hooks = [
        body(model).register_forward_hook(lambda _module, _args, output: found.append(output)),
        model.get_output_embeddings().register_forward_pre_hook(lambda _module, args: (args[0][:, :1],)),  # not used
    ]
    try:
        model(input_ids=ids, use_cache=False, **more)  # the wrapper's forward method inserts the positions
    finally:
        for hook in hooks:
            hook.remove()
    (output,) = found
    output.last_hidden_state = output.last_hidden_state[:, -ids.shape[1] :]
    return output


def learns_positions(model: Any) -> bool:
    """Return whether the model's wrapper inserts trained positions before the text (prefix and prompt tuning)."""
    return bool(getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False))


def takes_block_mask(model: PreTrainedModel, context: int) -> bool:
    """Return whether one mask serves all layers: full attention, or sliding windows of at least `context`."""
    config = model.config.get_text_config()
    if config.is_encoder_decoder or not getattr(model, "_supports_sdpa", False):
        return False
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if window is not None and window < context and not getattr(config, "layer_types", None):
        return False  # the architecture does not declare which layers use the window
    return kinds <= {"full_attention"} | ({"sliding_attention"} if window is not None and window >= context else set())


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
