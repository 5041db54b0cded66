"""Evaluation on held-out chat data: the nats of every response, and the preferred answer of every pair.

Chat objectives call it after training. It writes one line per row, so that models can be compared row by row.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from windtunnel.schemas.artifact import write_parquet
from windtunnel.trainer.data.chat_batches import in_micro_batches
from windtunnel.trainer.data.chat_rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from windtunnel.trainer.data.batch import Batch


SCORES = pa.schema(
    [
        pa.field("document", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),  # shared by documents that are not independent
        pa.field("bytes", pa.int64(), nullable=False),  # UTF-8 bytes of the assistant turns
        pa.field("nats", pa.float64(), nullable=False),  # of the assistant turns and the tokens that end them
        pa.field("tokens", pa.int64(), nullable=False),
    ]
)

PREFERENCES = pa.schema(
    [
        pa.field("document", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),  # shared by documents that are not independent
        pa.field("chosen", pa.float64(), nullable=False),  # score of each answer, see `measure`
        pa.field("rejected", pa.float64(), nullable=False),
        pa.field("margin", pa.float64(), nullable=False),  # chosen - rejected
        pa.field("correct", pa.float64(), nullable=False),  # 1, 0, or 0.5 for a tie
        # implicit_reward (beta x log-ratio to the reference) or implicit_reward_per_token, nats_per_byte or
        # nats_per_token (log-likelihood), or reward
        pa.field("measure", pa.string(), nullable=False),
    ]
)

Totals = dict[str, dict[str, float]]


def score_conversations(
    model: PreTrainedModel, rows: Rows, micro_tokens: int | None, share: bool, path: Path
) -> tuple[Totals, dict[str, float]]:
    """Score the responses of all conversations; write SCORES to `path`; return sums by source and the main metrics."""
    nats = np.empty(len(rows))
    for batch, numbers in in_micro_batches(rows, micro_tokens, share):
        nats[numbers] = -_sums(model, batch, len(numbers))
    return write_scores(rows, nats, path)


def write_scores(rows: Rows, nats: np.ndarray, path: Path) -> tuple[Totals, dict[str, float]]:
    """Write SCORES for the nats of each row's answers, float64 [rows]; return sums by source and the main metrics."""
    scores = {"bytes": rows.bytes.astype(np.int64), "nats": nats, "tokens": rows.targets.astype(np.int64)}
    write_parquet(path, pa.table({**_keys(rows), **scores}, SCORES))
    totals: Totals = {}
    sources = np.asarray(rows.sources.to_pylist(), dtype=object)
    for source in sorted(set(sources.tolist())):
        where = sources == source
        sums = nats[where].sum(), rows.bytes[where].sum(), where.sum()
        totals[source] = dict(zip(("nats", "bytes", "documents"), map(float, sums), strict=True))
    bits = float(nats.sum()) / math.log(2) / float(rows.bytes.sum())
    return totals, {"response_bits_per_byte": bits, **_row_counts(rows, "conversations")}


def score_preferences(
    model: PreTrainedModel, rows: Rows, micro_tokens: int | None, share: bool, path: Path
) -> dict[str, float]:
    """Score both answers of every pair by the log-likelihood per byte; write PREFERENCES; return the means."""
    logps, _ = answer_logps(model, rows, micro_tokens, share)
    lengths = np.stack([rows.bytes - rows.bytes_rejected, rows.bytes_rejected], axis=1)
    return write_preferences(rows, logps / lengths, "nats_per_byte", path)


def answer_logps(
    model: PreTrainedModel, rows: Rows, micro_tokens: int | None, share: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the summed log-probabilities of (chosen, rejected) in nats and their tokens, both float64 [rows, 2]."""
    logps, tokens = np.empty((len(rows), 2)), np.empty((len(rows), 2))
    for batch, numbers in in_micro_batches(rows, micro_tokens, share):
        logps[numbers] = _sums(model, batch, 2 * len(numbers)).reshape(-1, 2)
        tokens[numbers] = np.bincount(batch.tensors["owners"].numpy(), minlength=2 * len(numbers)).reshape(-1, 2)
    return logps, tokens


def write_preferences(rows: Rows, scores: np.ndarray, measure: str, path: Path) -> dict[str, float]:
    """Write PREFERENCES for scores [rows, 2]; return accuracy (ties count half) and mean margin."""
    margin = scores[:, 0] - scores[:, 1]
    correct = np.where(margin > 0, 1.0, np.where(margin == 0, 0.5, 0.0))
    pairs = {"chosen": scores[:, 0], "rejected": scores[:, 1], "margin": margin, "correct": correct}
    write_parquet(path, pa.table({**_keys(rows), **pairs, "measure": [measure] * len(rows)}, PREFERENCES))
    means = {"preference_accuracy": float(correct.mean()), "preference_margin": float(margin.mean())}
    return {**means, **_row_counts(rows, "preferences")}


def _sums(model: Any, batch: Batch, sequences: int) -> np.ndarray:
    """Return the summed log-probability of each sequence of a micro-batch, float64."""
    import torch

    from windtunnel.trainer.losses.target_logps import sum_by_owner, target_log_probs

    with torch.no_grad():
        values = target_log_probs(model, batch.tensors).double().cpu()
    return sum_by_owner(values, batch.tensors["owners"], sequences).numpy()


def _keys(rows: Rows) -> dict[str, pa.ChunkedArray]:
    return {"document": rows.ids, "source": rows.sources, "group": rows.groups}


def _row_counts(rows: Rows, kind: str) -> dict[str, float]:
    dropped = sum(rows.counts.dropped.values())
    return {f"held_out_{kind}": float(len(rows)), f"held_out_{kind}_dropped": float(dropped)}
