"""Pseudo-likelihood of documents under a masked language model: every token given those around it.

Exact pseudo-likelihood masks one token at a time (Salazar et al. 2020). Here every `groups`-th token is masked at once,
which takes `groups` passes instead of one a token, and at seven hides the share that the model was trained with. The
masks are a function of the position alone. The figure is no likelihood: a token is predicted from both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from windtunnel.trainer.losses.cross_entropy import token_nats
from windtunnel.trainer.modules.heads import body, masked_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH_TOKENS = 8192  # padded tokens per forward pass


class Frame(NamedTuple):
    """The special tokens of a masked model's rows: `first`, the text, `last`; and the one that hides a token."""

    mask: int
    first: int
    last: int


class Chunk(NamedTuple):
    """Tokens [start, stop) of a document."""

    document: int
    start: int
    stop: int


def pseudo_nats(
    model: PreTrainedModel, documents: Sequence[np.ndarray], frame: Frame, context: int, groups: int = 7
) -> np.ndarray:
    """Return the summed nats of each document's tokens, float64 [documents]; each token is scored once.

    Documents are cut into chunks that fill the context with their frame.
    """
    found = sorted(chunks(documents, context - 2), key=lambda c: (c.stop - c.start, c))
    nats = np.zeros(len(documents))
    first = 0
    with torch.inference_mode():
        while first < len(found):
            last, longest = first, 0
            while last < len(found) and (last - first + 1) * groups * (found[last].stop - found[last].start + 2) <= max(
                BATCH_TOKENS, groups * context
            ):
                last += 1
            batch = found[first:last]
            longest = batch[-1].stop - batch[-1].start
            ids = np.full((len(batch), longest + 2), frame.last, np.int64)
            for row, chunk in enumerate(batch):
                ids[row, 1 : 1 + chunk.stop - chunk.start] = documents[chunk.document][chunk.start : chunk.stop]
            ids[:, 0] = frame.first
            lengths = np.array([chunk.stop - chunk.start for chunk in batch])
            owners = np.array([chunk.document for chunk in batch])
            _add(nats, model, ids, lengths, owners, frame.mask, groups)
            first = last
    return nats


def chunks(documents: Sequence[np.ndarray], size: int) -> list[Chunk]:
    """Return consecutive chunks of at most `size` tokens that cover the documents."""
    return [
        Chunk(number, start, min(start + size, len(tokens)))
        for number, tokens in enumerate(documents)
        for start in range(0, len(tokens), size)
    ]


def _add(
    nats: np.ndarray,
    model: PreTrainedModel,
    ids: np.ndarray,
    lengths: np.ndarray,
    owners: np.ndarray,
    mask: int,
    groups: int,
) -> None:
    """Add the nats of framed chunks [chunks, positions] of `lengths` tokens to those of their documents."""
    places = np.arange(ids.shape[1]) - 1
    inside = (places >= 0) & (places < lengths[:, None])
    hidden_at = inside[:, None] & (places % groups == np.arange(groups)[:, None])  # [chunks, groups, positions]
    hidden_at = hidden_at.reshape(-1, ids.shape[1])
    truth = np.repeat(ids, groups, axis=0)
    attended = np.repeat(np.arange(ids.shape[1]) < lengths[:, None] + 2, groups, axis=0)
    device = model.device
    shown = torch.from_numpy(np.where(hidden_at, mask, truth)).to(device)
    states = body(model)(input_ids=shown, attention_mask=torch.from_numpy(attended).to(device)).last_hidden_state
    picked = states[torch.from_numpy(hidden_at).to(device)]
    scored = token_nats(*masked_head(model, picked), torch.from_numpy(truth[hidden_at]).to(device))
    np.add.at(nats, np.repeat(np.repeat(owners, groups), hidden_at.sum(1)), scored.double().cpu().numpy())
