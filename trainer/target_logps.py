"""Log-probabilities of the learnt tokens alone, for any transformers causal language model, with or without a delta.

The head sees only the hidden states that predict a learnt token: a hook in front of it picks them out. In a chat with
long prompts that saves most of the vocabulary product, and whatever a model does to its logits afterwards
(soft-capping, scaling) still happens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.nn import functional as F

MODEL_INPUTS = ("input_ids", "position_ids", "attention_mask")


@contextlib.contextmanager
def only_at(head: torch.nn.Module, sources: torch.Tensor, width: int) -> Iterator[None]:
    """Let `head` see only the flat places `sources` of its [bins, width, hidden] input, as [1, sources, hidden].

    Learnt prefixes that a delta puts in front make the input wider; the last `width` columns are the text's.
    """

    def pick(_module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = args[0][:, -width:]
        return (hidden.reshape(-1, hidden.shape[-1]).index_select(0, sources)[None], *args[1:])

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


def target_log_probs(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the log-probability of every label of the batch, [targets] in nats, float32.

    `batch` is what `trainer.packing.tensors` gives.
    """
    device = model.device
    width = batch["input_ids"].shape[1]
    with only_at(model.get_output_embeddings(), batch["sources"].to(device), width):
        logits = model(**model_inputs(model, batch), use_cache=False).logits[0]
    return -F.cross_entropy(logits.float(), batch["labels"].to(device), reduction="none")


def model_inputs(model: Any, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what the model's forward takes out of a batch, on its device, the mask in its type."""
    inputs = {name: batch[name].to(model.device) for name in MODEL_INPUTS if name in batch}
    if "attention_mask" in inputs:
        inputs["attention_mask"] = inputs["attention_mask"].to(model.dtype)
    return inputs


def sum_by_owner(values: torch.Tensor, owners: torch.Tensor, count: int) -> torch.Tensor:
    """Return the sums of `values` by sequence, [count]."""
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, owners, values)
