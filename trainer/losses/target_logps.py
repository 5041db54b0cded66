"""Log-probabilities of the target tokens, for any causal language model of transformers, with or without a delta.

The head is applied only to hidden states that predict a target, which saves most of the vocabulary product for chats
with long prompts. If the head is a single matrix, the logits are not materialised either. Otherwise (soft-capped or
scaled logits, trained positions before the text) a hook selects the hidden states in front of the head, and the model's
own forward method does the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.nn import functional as F

from windtunnel.trainer.losses.cross_entropy import scored_tokens, summed_nats, token_nats
from windtunnel.trainer.modules.heads import hidden_states, learns_positions, output_weight

MODEL_INPUTS = ("input_ids", "position_ids", "attention_mask")

# Architectures whose logits are the last hidden state times one matrix.
PLAIN_HEADS = frozenset({"llama", "gpt2", "mistral", "mixtral", "qwen2", "qwen3", "smollm3", "olmo2", "gpt_neox"})

Tensors = Mapping[str, torch.Tensor]


def summed_target_nats(model: Any, batch: Tensors) -> torch.Tensor:
    """Return the summed negative log-likelihood of all labels of the batch in nats, a scalar."""
    if not has_plain_head(model):
        return -_by_logits(model, batch).sum()
    return summed_nats(_source_states(model, batch), output_weight(model), batch["labels"].to(model.device))


def target_log_probs(model: Any, batch: Tensors, temperature: float = 1.0) -> torch.Tensor:
    """Return the log-probability of every label of the batch, [targets] in nats, of logits divided by `temperature`.

    `batch` has the tensors of `windtunnel.trainer.data.packing.tensors`.
    """
    if not has_plain_head(model):
        return _by_logits(model, batch, temperature)
    states = _source_states(model, batch)
    states = states if temperature == 1.0 else states / temperature
    return -token_nats(states, output_weight(model), batch["labels"].to(model.device))


def target_entropies(model: Any, batch: Tensors, temperature: float = 1.0) -> torch.Tensor:
    """Return the entropies in nats of the distributions that labels are drawn from, float32 [targets]."""
    logps = (target_logits(model, batch).float() / temperature).log_softmax(-1)
    return -(logps.exp() * logps.clamp(min=-1e4)).sum(-1)


def target_scores(model: Any, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (nats of every label, whether no other token is likelier), float32 and bool [targets], without gradients.

    `batch` is that of `target_log_probs`.
    """
    if not has_plain_head(model):
        logits = target_logits(model, batch).float()
        chosen = logits.gather(1, batch["labels"].to(model.device)[:, None])[:, 0]
        return logits.logsumexp(-1) - chosen, chosen >= logits.amax(-1)
    return scored_tokens(_source_states(model, batch), output_weight(model), batch["labels"].to(model.device))


def sum_by_owner(values: torch.Tensor, owners: torch.Tensor, count: int) -> torch.Tensor:
    """Return the sums of `values` per sequence, [count]."""
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, owners.to(values.device), values)


def answer_sums(model: Any, batch: Tensors, answers: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the summed log-probabilities in nats and the target tokens of the answers, both [rows, answers]."""
    values = target_log_probs(model, batch)
    owners, count = batch["owners"].to(values.device), len(batch["ends"])
    tokens = sum_by_owner(torch.ones_like(values), owners, count)
    return sum_by_owner(values, owners, count).view(-1, answers), tokens.view(-1, answers)


def has_plain_head(model: Any) -> bool:
    """Return whether the logits are the body's hidden states times one matrix."""
    if learns_positions(model):
        return False  # the wrapper's forward method inserts the trained positions
    head = model.get_output_embeddings()
    return model.config.model_type in PLAIN_HEADS and type(head) is torch.nn.Linear and head.bias is None


def model_inputs(model: Any, batch: Tensors) -> dict[str, torch.Tensor]:
    """Return the inputs of the model's forward method, on its device, with the mask in its dtype."""
    inputs = {name: batch[name].to(model.device) for name in MODEL_INPUTS if name in batch}
    if "attention_mask" in inputs:
        inputs["attention_mask"] = inputs["attention_mask"].to(model.dtype)
    return inputs


def _source_states(model: Any, batch: Tensors) -> torch.Tensor:
    """Return the hidden states that predict the labels, [targets, width]."""
    inputs = model_inputs(model, batch)
    hidden = hidden_states(model, inputs.pop("input_ids"), **inputs)
    return hidden.reshape(-1, hidden.shape[-1]).index_select(0, batch["sources"].to(model.device))


def _by_logits(model: Any, batch: Tensors, temperature: float = 1.0) -> torch.Tensor:
    logits = target_logits(model, batch)
    return -F.cross_entropy(logits.float() / temperature, batch["labels"].to(model.device), reduction="none")


def target_logits(model: Any, batch: Tensors) -> torch.Tensor:
    """Return the logits of the positions that predict labels, [targets, vocabulary]."""
    width = batch["input_ids"].shape[1]
    with _only_at(model.get_output_embeddings(), batch["sources"].to(model.device), width):
        return model(**model_inputs(model, batch), use_cache=False).logits[0]


@contextlib.contextmanager
def _only_at(head: torch.nn.Module, sources: torch.Tensor, width: int) -> Iterator[None]:
    """Restrict the input [bins, width, hidden] of `head` to the flat positions `sources`, as [1, sources, hidden].

    Trained positions that a delta inserts before the text widen the input; its last `width` columns belong to the text.
    """

    def pick(_module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0][:, -width:]
        return (hidden.reshape(-1, hidden.shape[-1]).index_select(0, sources)[None], *args[1:])

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()
