"""Loss of what is cut out of documents given the rest, under a corruption that is the same for every model.

It is a function of the document's tokens, the lengths and the spans, so that models with one tokenizer are asked the
same. Sentinels and the end are counted: they are part of what the model has to say. The figure is no likelihood of the
document: most of it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from blake3 import blake3

from windtunnel.trainer.data import spans
from windtunnel.trainer.eval.pseudo_likelihood import BATCH_TOKENS, Chunk, chunks
from windtunnel.trainer.losses.cross_entropy import token_nats
from windtunnel.trainer.modules.heads import output_weight
from windtunnel.trainer.modules.seq2seq import target_states

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def target_nats(
    model: PreTrainedModel,
    documents: Sequence[np.ndarray],
    context: int,
    sentinel: int,
    end: int,
    share: float = 0.15,
    mean_span: float = 3.0,
) -> np.ndarray:
    """Return the summed nats of each document's targets, float64 [documents].

    Documents are cut into chunks that fill the context when they are corrupted.
    """
    found = chunks(documents, spans.longest_text(context, share, mean_span).text)
    by_length = sorted(range(len(found)), key=lambda k: (found[k].stop - found[k].start, k))
    nats = np.zeros(len(documents))
    first = 0
    with torch.inference_mode():
        while first < len(by_length):
            last = first + 1
            while last < len(by_length) and (last + 1 - first) * _length(found[by_length[last]]) <= BATCH_TOKENS:
                last += 1
            batch = [found[k] for k in by_length[first:last]]
            pairs = [_corrupted(documents, chunk, share, mean_span, sentinel, end) for chunk in batch]
            inputs, attended = _padded([pair.inputs[0] for pair in pairs], end)
            targets, scored = _padded([pair.targets[0] for pair in pairs], end)
            inputs, attended, targets, scored = (t.to(model.device) for t in (inputs, attended, targets, scored))
            states = target_states(model, inputs, targets, attended)
            values = token_nats(states[scored], output_weight(model), targets[scored]).double().cpu().numpy()
            np.add.at(nats, np.repeat([c.document for c in batch], scored.sum(1).cpu().numpy()), values)
            first = last
    return nats


def _length(chunk: Chunk) -> int:
    return chunk.stop - chunk.start


def _corrupted(
    documents: Sequence[np.ndarray], chunk: Chunk, share: float, mean_span: float, sentinel: int, end: int
) -> spans.Corrupted:
    ids = documents[chunk.document][chunk.start : chunk.stop]
    key = int.from_bytes(blake3(ids.astype("<i8").tobytes()).digest(8), "big")
    size = spans.lengths(len(ids), share, mean_span)
    return spans.corrupted(ids[None], size, sentinel, end, np.random.Generator(np.random.Philox(key)))


def _padded(rows: Sequence[np.ndarray], padding: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows as one array [rows, longest], and bool: where they are no padding."""
    lengths = np.array([len(row) for row in rows])
    inside = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(inside.shape, padding, np.int64)
    ids[inside] = np.concatenate(rows)
    return torch.from_numpy(ids), torch.from_numpy(inside)
