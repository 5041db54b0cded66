"""Vectors of texts, or of places in texts, from any trained model: static, ELMo, BERT, GPT, T5.

A text's vector is the mean over its tokens of the states of one layer; of T5 these are the encoder's. Texts longer than
the model's context are read in parts. Every model reads a text in the frame that it was trained with (`[CLS]` and
`[SEP]`, or end-of-text before it), which is not part of the mean.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from windtunnel.trainer.data.encoder import Encoder, open_encoder
from windtunnel.trainer.models._model import ModelKind, context_of, kind_in, load
from windtunnel.trainer.modules.static_vectors import StaticVectors, words_of

if TYPE_CHECKING:
    import torch

BATCH_TOKENS = 8192  # padded tokens per forward pass
Span = tuple[int, int]  # characters [start, stop) of a text


class _Part(NamedTuple):
    """Framed token ids of a part of a text, and which of them count."""

    text: int
    ids: np.ndarray
    counted: np.ndarray


def vectors(model: Path, texts: Sequence[str], layer: int = -1, device: str = "cpu") -> np.ndarray:
    """Return the mean vector of each text's tokens in one layer, float32 [texts, width]; the last one by default."""
    return layer_vectors(model, texts, device=device)[layer]


def layer_vectors(
    model: Path, texts: Sequence[str], spans: Sequence[Span] | None = None, device: str = "cpu"
) -> np.ndarray:
    """Return the mean vectors of each text's tokens by layer, float32 [layers, texts, width].

    `model` is a directory that training wrote. With `spans`, the mean is over the tokens that touch the span of each
    text, and the tokens around it are context only. Layer 0 is the embeddings; static vectors have no other. A text or
    span without tokens is zero.
    """
    kind = kind_in(model)
    if kind == "static":
        return _static(StaticVectors.load(model), texts, spans)[None]
    encoder = open_encoder(model)
    loaded: Any = load(model)
    loaded = loaded.to(device).eval()
    parts = _parts(texts, spans, encoder, _frame(model, kind, encoder), context_of(loaded, None))
    return _means(loaded, kind, parts, len(texts))


def _static(static: StaticVectors, texts: Sequence[str], spans: Sequence[Span] | None) -> np.ndarray:
    out = np.zeros((len(texts), static.vectors.shape[1]), np.float32)
    for row, text in enumerate(texts):
        words = words_of(text if spans is None else text[slice(*spans[row])])
        if words:
            out[row] = np.mean([static.vector(word) for word in words], axis=0)
    return out


def _frame(model: Path, kind: ModelKind, encoder: Encoder) -> tuple[list[int], list[int]]:
    """Return the token ids before and behind a text."""
    if kind == "seq2seq":
        return [], [encoder.end_of_text]
    if kind != "masked":
        return [encoder.end_of_text], [encoder.end_of_text] if kind == "bidirectional" else []
    config = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    names = [config.get(name) for name in ("cls_token", "sep_token")]
    ids = [encoder.backend.token_to_id(n["content"] if isinstance(n, dict) else n) if n else None for n in names]
    return [id for id in ids[:1] if id is not None], [id for id in ids[1:] if id is not None]


def _parts(
    texts: Sequence[str],
    spans: Sequence[Span] | None,
    encoder: Encoder,
    frame: tuple[list[int], list[int]],
    context: int,
) -> list[_Part]:
    """Return the parts of the texts: all of each in turn, or a stretch of tokens with the span in its middle."""
    before, behind = frame
    room = context - len(before) - len(behind)
    encodings = encoder.backend.encode_batch(list(texts), add_special_tokens=False)
    parts = []
    for number, encoding in enumerate(encodings):
        ids = np.array(encoding.ids, np.int64)
        counted = np.ones(len(ids), bool)
        starts = range(0, len(ids), room)
        if spans is not None:
            low, high = spans[number]
            edges = np.array(encoding.offsets, np.int64).reshape(-1, 2)
            counted = (edges[:, 0] < high) & (edges[:, 1] > low)
            middle = int(np.flatnonzero(counted).mean()) if counted.any() else 0
            first = max(0, min(middle - room // 2, len(ids) - room))
            starts = range(first, first + 1) if counted.any() else range(0)
        for start in starts:
            inside = slice(start, start + room)
            framed = np.concatenate([before, ids[inside], behind]).astype(np.int64)
            edge = [np.zeros(len(part), bool) for part in frame]
            parts.append(_Part(number, framed, np.concatenate([edge[0], counted[inside], edge[1]])))
    return parts


def _means(model: Any, kind: ModelKind, parts: list[_Part], texts: int) -> np.ndarray:
    import torch

    order = sorted(parts, key=lambda part: len(part.ids))
    sums: np.ndarray | None = None
    counts = np.zeros(texts)
    first = 0
    with torch.inference_mode():
        while first < len(order):
            last = first + 1
            while last < len(order) and (last + 1 - first) * len(order[last].ids) <= BATCH_TOKENS:
                last += 1
            batch = order[first:last]
            lengths = np.array([len(part.ids) for part in batch])
            inside = np.arange(lengths[-1]) < lengths[:, None]
            ids, counted = np.zeros(inside.shape, np.int64), np.zeros(inside.shape, np.float32)
            ids[inside] = np.concatenate([part.ids for part in batch])
            counted[inside] = np.concatenate([part.counted for part in batch])
            layers = _layers(model, kind, torch.from_numpy(ids).to(model.device), torch.from_numpy(inside))
            weights = torch.from_numpy(counted).to(model.device)
            added = torch.einsum("lrpw,rp->lrw", layers.float(), weights).cpu().numpy()
            if sums is None:
                sums = np.zeros((len(added), texts, added.shape[-1]))
            owners = [part.text for part in batch]
            np.add.at(sums.swapaxes(0, 1), owners, added.swapaxes(0, 1))
            np.add.at(counts, owners, counted.sum(1))
            first = last
    if sums is None:
        return np.zeros((1, texts, model.config.hidden_size), np.float32)
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)


def _layers(model: Any, kind: ModelKind, ids: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Return the states of every layer, [layers, rows, positions, width]; `inside` bool is what is no padding."""
    import torch

    from windtunnel.trainer.modules.heads import body

    mask = inside.to(ids.device)
    if kind == "bidirectional":
        return model.layer_vectors(ids, mask.sum(1))
    trunk = model.get_encoder() if kind == "seq2seq" else body(model)
    more = {} if kind in ("seq2seq", "masked") else {"use_cache": False}
    return torch.stack(trunk(input_ids=ids, attention_mask=mask, output_hidden_states=True, **more).hidden_states)
