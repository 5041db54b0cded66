"""What a model makes of held-out chat data: nats of every response, and which answer of a pair it prefers.

One line per row is kept, so that two models can be compared row by row.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.schemas.artifact import writing
from windtunnel.trainer.data.chat_batches import in_micro_batches
from windtunnel.trainer.data.chat_rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from windtunnel.trainer.data.batch import Batch


SCORES = pa.schema(
    [
        pa.field("document", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),  # documents that belong together: no two draws of chance
        pa.field("bytes", pa.int64(), nullable=False),  # of the assistant's turns, UTF-8
        pa.field("nats", pa.float64(), nullable=False),  # of the same, the tokens that end turns included
        pa.field("tokens", pa.int64(), nullable=False),
    ]
)

PREFERENCES = pa.schema(
    [
        pa.field("document", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),  # documents that belong together: no two draws of chance
        pa.field("chosen", pa.float64(), nullable=False),  # the score of each answer, see `measure`
        pa.field("rejected", pa.float64(), nullable=False),
        pa.field("margin", pa.float64(), nullable=False),  # chosen - rejected
        pa.field("correct", pa.float64(), nullable=False),  # 1, 0, or 0.5 for a tie
        # implicit_reward: beta x log-ratio to the reference; nats_per_byte: log-likelihood per byte; reward: a head's
        pa.field("measure", pa.string(), nullable=False),
    ]
)

Totals = dict[str, dict[str, float]]


def score_conversations(
    model: PreTrainedModel, rows: Rows, micro_tokens: int | None, share: bool, path: Path
) -> tuple[Totals, dict[str, float]]:
    """Score every response token of every conversation; write SCORES to `path`; return sums by source and headlines."""
    nats = np.empty(len(rows))
    for batch, numbers in in_micro_batches(rows, micro_tokens, share):
        nats[numbers] = -_sums(model, batch, len(numbers))
    table = pa.table(
        {
            "document": rows.ids,
            "source": rows.sources,
            "group": rows.groups,
            "bytes": rows.bytes.astype(np.int64),
            "nats": nats,
            "tokens": rows.targets.astype(np.int64),
        },
        SCORES,
    )
    _write(table, path)
    totals: Totals = {}
    sources = np.asarray(rows.sources.to_pylist(), dtype=object)
    for source in sorted(set(sources.tolist())):
        mine = sources == source
        totals[source] = {
            "nats": float(nats[mine].sum()),
            "bytes": float(rows.bytes[mine].sum()),
            "documents": float(mine.sum()),
        }
    bits = float(nats.sum()) / math.log(2) / float(rows.bytes.sum())
    return totals, {"response_bits_per_byte": bits, **_left_out(rows, "conversations")}


def score_preferences(
    model: PreTrainedModel,
    rows: Rows,
    micro_tokens: int | None,
    share: bool,
    path: Path,
    reference: np.ndarray | None = None,
    beta: float = 1.0,
) -> dict[str, float]:
    """Score both answers of every pair; write PREFERENCES to `path`; return accuracy and mean margin.

    With a reference (float [rows, 2]) by the implicit reward, else by log-likelihood per byte of the answer.
    """
    logps = np.empty((len(rows), 2))
    for batch, numbers in in_micro_batches(rows, micro_tokens, share):
        logps[numbers] = _sums(model, batch, 2 * len(numbers)).reshape(-1, 2)
    if reference is not None:
        return write_preferences(rows, beta * (logps - reference), "implicit_reward", path)
    lengths = np.stack([rows.bytes - rows.bytes_rejected, rows.bytes_rejected], axis=1)
    return write_preferences(rows, logps / lengths, "nats_per_byte", path)


def write_preferences(rows: Rows, scores: np.ndarray, measure: str, path: Path) -> dict[str, float]:
    """Write PREFERENCES for scores [rows, 2]; return accuracy (a tie counts half) and mean margin."""
    margin = scores[:, 0] - scores[:, 1]
    correct = np.where(margin > 0, 1.0, np.where(margin == 0, 0.5, 0.0))
    table = pa.table(
        {
            "document": rows.ids,
            "source": rows.sources,
            "group": rows.groups,
            "chosen": scores[:, 0],
            "rejected": scores[:, 1],
            "margin": margin,
            "correct": correct,
            "measure": [measure] * len(rows),
        },
        PREFERENCES,
    )
    _write(table, path)
    return {
        "preference_accuracy": float(correct.mean()),
        "preference_margin": float(margin.mean()),
        **_left_out(rows, "preferences"),
    }


def _sums(model: Any, batch: Batch, sequences: int) -> np.ndarray:
    """Return the summed log-probability of each sequence of a micro-batch, in float64."""
    import torch

    from windtunnel.trainer.losses.target_logps import sum_by_owner, target_log_probs

    with torch.no_grad():
        values = target_log_probs(model, batch.tensors).double().cpu()
    return sum_by_owner(values, batch.tensors["owners"], sequences).numpy()


def _left_out(rows: Rows, what: str) -> dict[str, float]:
    dropped = sum(rows.counts.dropped.values())
    return {f"held_out_{what}": float(len(rows)), f"held_out_{what}_dropped": float(dropped)}


def _write(table: pa.Table, path: Path) -> None:
    with writing(path) as partial:
        pq.write_table(table, partial, compression="zstd")
