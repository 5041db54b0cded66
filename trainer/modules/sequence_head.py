"""Sequence classifiers of transformers on a language model's body: `score` on a causal one, BERT's pooler and head.

Saved directories are read by `AutoModelForSequenceClassification`, which on a padded batch returns what training saw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.model_delta import carried, set_carried
from windtunnel.trainer.modules.heads import hidden_states, learns_positions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def with_sequence_head(model: PreTrainedModel, outputs: int) -> PreTrainedModel:
    """Return a sequence-classification model with the same body and new weights above it.

    Raises InputError for an architecture without such a model in transformers.
    """
    from transformers import AutoModelForSequenceClassification

    if learns_positions(model):
        raise InputError("a head reads the body's states, and the model carries positions before its text")
    config = type(model.config).from_dict(model.config.to_dict())
    config.num_labels = outputs
    try:
        with torch.device("meta"):  # the existing body is reused, so no new weights are drawn for it
            out: Any = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise InputError(f"transformers has no sequence classification for {config.model_type!r}") from error
    body: Any = getattr(model, model.base_model_prefix)
    new = getattr(out, out.base_model_prefix)
    if not isinstance(getattr(out, "score", None), nn.Linear) and not isinstance(out.classifier, nn.Linear):
        raise InputError(f"the sequence classification of {config.model_type!r} has no single linear head")
    if getattr(new, "pooler", None) is not None and getattr(body, "pooler", None) is None:
        body.pooler = new.pooler.to_empty(device=model.device)
        _draw(body.pooler, config.initializer_range)
    setattr(out, out.base_model_prefix, body)
    resize(out, outputs)
    set_carried(out, carried(model))  # it is in the body
    return out.train(model.training)


def head_name(model: Any) -> str:
    """Return the name of the linear layer that gives the outputs."""
    return "score" if isinstance(getattr(model, "score", None), nn.Linear) else "classifier"


def resize(model: Any, outputs: int) -> None:
    """Give a sequence classifier a new head with standard deviation 1/sqrt(width + 1), so that outputs start small."""
    name = head_name(model)
    old = getattr(model, name)
    head = nn.Linear(old.in_features, outputs, bias=old.bias is not None)
    _draw(head, (old.in_features + 1) ** -0.5)
    setattr(model, name, head.to(device=model.device, dtype=model.dtype))
    model.config.num_labels = model.num_labels = outputs


def sequence_logits(model: Any, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the outputs of every row, float32 [rows, outputs]; tensors as of trainer.data.labelled.text_batches."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    ids, attended = tensors["input_ids"].to(model.device), tensors["attended"].to(model.device)
    if head_name(plain) == "classifier":
        return model(input_ids=ids, attention_mask=attended.long()).logits.float()
    return plain.score(last_states(model, ids, attended)).float()


def last_states(model: Any, ids: torch.Tensor, attended: torch.Tensor, back: int = 0) -> torch.Tensor:
    """Return the state of a causal model's body at each row's last token, or `back` before it, [rows, width].

    Padding is on the right, which no token of a text sees.
    """
    hidden = hidden_states(model, ids)
    places = attended.sum(1) - 1 - back
    return hidden[torch.arange(len(ids), device=ids.device), places]


def choose_text_padding(tokenizer: PreTrainedTokenizerFast, model: Any, end: int | None) -> bool:
    """Set the padding token of tokenizer and model to a special token other than `end`; return whether there is one."""
    named = [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id]
    others = sorted(k for k, token in tokenizer.added_tokens_decoder.items() if token.special)
    free = [k for k in [*named, *others] if k is not None and k != end]
    if not free:
        return False
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(free[0])
    model.config.pad_token_id = free[0]
    return True


def _draw(module: nn.Module, std: float) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
