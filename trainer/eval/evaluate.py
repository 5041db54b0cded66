"""Rolling log-likelihood of the frozen held-out documents: nats and UTF-8 bytes of every document.

The causal_lm objective calls it after training; its `scores.parquet` is the input of the comparison. A document is
end-of-text followed by its tokens, cut into consecutive windows of `context` predictions. The first window begins at
end-of-text, each later one at the last token of the window before, so that every token of the document is predicted
exactly once, as in Paloma (Magnusson et al. 2023). lm-eval's rolling log-likelihood has the same windows but the last
one of a document, which it fills with tokens that are scored already. The final end-of-text is not scored.

bits per byte = nats / ln 2 / bytes, which is comparable across tokenizers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
import torch

from windtunnel.schemas.artifact import Artifact, write_parquet
from windtunnel.schemas.errors import InputError
from windtunnel.trainer.losses.cross_entropy import token_nats
from windtunnel.trainer.modules.heads import hidden_states, output_weight
from windtunnel.trainer.modules.routing import counting

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from windtunnel.trainer.data.encoder import Encoder

BATCH_TOKENS = 2048  # padded tokens of a pass on the CPU: more leave the cache
ON_A_GPU = 32  # times as many there
States = Callable[[Any, torch.Tensor], torch.Tensor]


class HeldOut(NamedTuple):
    """The evaluation documents as tokens."""

    documents: list[str]
    sources: list[str]
    bytes: np.ndarray  # int64 [documents]
    tokens: list[np.ndarray]  # int64, without end-of-text


def read_held_out(artifact: Artifact, encoder: Encoder) -> HeldOut:
    """Return the held-out documents of an artifact in file order. Raises InputError if there are none."""
    files = artifact.files("documents")
    if not files:
        raise InputError(f"{artifact.path.name}: no held-out documents in documents/")
    table = pl.concat([pl.read_parquet(f, columns=["id", "text", "source"]) for f in files])
    table = table.with_columns(pl.col("text").str.len_bytes().cast(pl.Int64).alias("bytes")).filter(pl.col("bytes") > 0)
    if table.is_empty():
        raise InputError(f"{artifact.path.name}: the held-out set is empty")
    tokens = list(encoder.encode(table["text"].to_list()))
    return HeldOut(table["id"].to_list(), table["source"].to_list(), table["bytes"].to_numpy(), tokens)


def document_nats(
    model: PreTrainedModel,
    documents: Sequence[np.ndarray],
    end_of_text: int,
    context: int,
    stride: int | None = None,
    states: States = hidden_states,
) -> np.ndarray:
    """Return each document's negative log-likelihood in nats, float64 [documents].

    Windows begin `stride` predictions apart, by default `context`. With a smaller stride, the first `context - stride`
    tokens of a window are context only, which gives more context at a higher cost. `states` gives the last states of
    ids [rows, positions], each of which predicts the token that follows.
    """
    windows = [
        window for number, tokens in enumerate(documents) for window in _rolling(number, len(tokens), context, stride)
    ]
    streams = [np.concatenate([[end_of_text], tokens]) for tokens in documents]
    return _summed(model, streams, windows, states)


def write_scores(held_out: HeldOut, nats: np.ndarray, path: Path) -> pl.DataFrame:
    """Write and return the scores, one row per held-out document: document, source, bytes int64, nats float64."""
    table = pl.DataFrame(
        {"document": held_out.documents, "source": held_out.sources, "bytes": held_out.bytes, "nats": nats}
    )
    write_parquet(path, table)
    return table


def totals(scores: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Return nats, bytes and documents by source."""
    sums = scores.group_by("source").agg(pl.col("nats", "bytes").sum(), pl.len().alias("documents")).sort("source")
    return {row.pop("source"): row for row in sums.iter_rows(named=True)}


class Window(NamedTuple):
    """A window of a stream: tokens [start, stop) predict tokens [start + 1, stop + 1)."""

    stream: int
    start: int
    stop: int
    unscored: int = 0  # leading predictions that are not scored


def _rolling(stream: int, predictions: int, context: int, stride: int | None) -> list[Window]:
    """Return the windows of a stream, in which every prediction is scored once."""
    windows: list[Window] = []
    for start in range(0, predictions, stride or context):
        stop, scored = min(start + context, predictions), windows[-1].stop if windows else 0
        if stop > scored:
            windows.append(Window(stream, start, stop, scored - start))
    return windows


def _summed(
    model: PreTrainedModel, streams: Sequence[np.ndarray], windows: list[Window], states: States = hidden_states
) -> np.ndarray:
    """Return the nats of all scored predictions by stream, float64 [streams]."""
    windows = sorted(windows, key=lambda w: (w.stop - w.start, w))  # batches of similar length need little padding
    nats = np.zeros(len(streams))
    with torch.inference_mode():
        for batch in _batches(windows, BATCH_TOKENS * (1 if model.device.type == "cpu" else ON_A_GPU)):
            ids, targets, owners = _pad(batch, streams)
            if (loads := counting(model)) is not None:
                loads.seen = targets.to(model.device) >= 0
            np.add.at(nats, owners, _scores(model, ids, targets, states))
    return nats


def _batches(windows: Sequence[Window], most: int) -> list[Sequence[Window]]:
    """Split windows, sorted by length, into batches of at most `most` padded tokens."""
    batches, first = [], 0
    for place, window in enumerate(windows):
        if place > first and (place - first + 1) * (window.stop - window.start) > most:
            batches.append(windows[first:place])
            first = place
    return [*batches, windows[first:]] if windows else []


def _pad(batch: Sequence[Window], streams: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Return (ids [windows, longest], targets with -1 where not scored, the stream of each scored target)."""
    longest = max(w.stop - w.start for w in batch)
    ids = np.zeros((len(batch), longest), np.int64)
    targets = np.full((len(batch), longest), -1, np.int64)
    for row, window in enumerate(batch):
        stream, length = streams[window.stream], window.stop - window.start
        ids[row, :length] = stream[window.start : window.stop]
        targets[row, window.unscored : length] = stream[window.start + 1 + window.unscored : window.stop + 1]
    owners = np.repeat([w.stream for w in batch], [w.stop - w.start - w.unscored for w in batch])
    return torch.from_numpy(ids), torch.from_numpy(targets), owners


def _scores(model: PreTrainedModel, ids: torch.Tensor, targets: torch.Tensor, states: States) -> np.ndarray:
    """Return the nats of the scored targets, float64, in row order. Padding on the right needs no mask."""
    hidden = states(model, ids.to(model.device))
    counts = targets.to(model.device) >= 0
    nats = token_nats(hidden[counts], output_weight(model), targets.to(model.device)[counts])
    return nats.double().cpu().numpy()
