"""One scale for every way to a label: whether the right one of a task's labels is found, and its probability.

A head, a prompt, examples in the context and a reply all give nats for each label of a task. The items of a run are
those of tasks (trainer.eval.task_scores), with the task `labels/SOURCE`, and the column `probability`: the share of the
right label among the labels of its task, as they are (no lengths are made up for).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.schemas.artifact import Artifact, write_parquet
from windtunnel.trainer.data.chat_errors import ChatError
from windtunnel.trainer.data.chat_rows import Rows
from windtunnel.trainer.data.labelled import LabelEncoder, Labels, text_and_label
from windtunnel.trainer.eval.task_scores import lines_of, table_of
from windtunnel.trainer.tasks._choice_scores import choice_scores
from windtunnel.trainer.tasks._evaluation import Row

TITLE = "labels"
FILE = "labels.parquet"  # in the directory of a run whose objective reads labels itself
PROBABILITY = "probability"


class LabelledRow(NamedTuple):
    """A row of a data set: its text and its label."""

    id: str
    source: str
    group: str
    text: str
    label: str


class Unlabelled(NamedTuple):
    """A row without a label: its source, and the reason."""

    source: str
    reason: str


def label_row(row: LabelledRow, labels: Sequence[str], nats: np.ndarray) -> Row:
    """Return the outcome of a row from the nats of the labels of its task, one of which is right."""
    right = list(labels).index(row.label)
    sizes = np.array([len(label.encode()) for label in labels])
    metrics, chance = choice_scores(np.asarray(nats, np.float64), sizes, right), 1 / len(labels)
    return Row(
        id=row.id, prompt=row.text, answer=row.label, reply=labels[int(np.argmin(nats))], correct=metrics["acc"],
        group=row.group, bytes=int(sizes[right]), nats=float(nats[right]), metrics={PROBABILITY: metrics[PROBABILITY]},
        chance=chance, chances={PROBABILITY: chance}, part=row.source,
    )  # fmt: skip


def items_table(rows: Sequence[Row]) -> pa.Table:
    """Return the items of rows with their column `probability`."""
    values = pa.array([row.metrics[PROBABILITY] for row in rows], pa.float64())
    return table_of(lines_of(TITLE, rows)).append_column(PROBABILITY, values)


def write_items(rows: Rows, labels: Labels, encoder: LabelEncoder, nats: np.ndarray, path: Path) -> dict[str, float]:
    """Write the items of encoded rows, by nats [rows, labels] of all labels; return the main metrics.

    Rows with a label that no training row of their source has are not measured; their number is told.
    """
    out, unknown = [], 0
    numbers, sources, groups = labels.numbers(rows), rows.sources.to_pylist(), rows.groups.to_pylist()
    for k, number in enumerate(numbers.tolist()):
        allowed = labels.of_source(str(sources[k]))
        if number not in allowed:
            unknown += 1
            continue
        row = rows[k]
        text = encoder.text(row.ids[~row.target])
        about = LabelledRow(rows.ids[k].as_py(), str(sources[k]), str(groups[k]), text, labels.names[number])
        out.append(label_row(about, [labels.names[n] for n in allowed], nats[k, allowed]))
    write_parquet(path, items_table(out))
    dropped = sum(rows.counts.dropped.values())
    return {**means(out), "held_out_conversations_dropped": float(dropped), "held_out_unknown_labels": float(unknown)}


def means(rows: Sequence[Row]) -> dict[str, float]:
    """Return the number of items, the share right and the mean probability of the right label."""
    if not rows:
        return {"label_items": 0.0}
    right, shares = [row.correct for row in rows], [row.metrics[PROBABILITY] for row in rows]
    figures = {"label_accuracy": np.mean(right), "label_probability": np.mean(shares)}
    return {"label_items": float(len(rows)), **{name: float(value) for name, value in figures.items()}}


def labelled_rows(artifact: Artifact) -> Iterator[LabelledRow | Unlabelled]:
    """Yield the rows of an artifact of conversations, or the reason why one has no label."""
    for path in artifact.files("rows"):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(512):
                yield from map(_labelled, batch.to_pylist())


def _labelled(record: dict[str, Any]) -> LabelledRow | Unlabelled:
    try:
        text, label = text_and_label(record)
    except ChatError as error:
        return Unlabelled(record["source"], error.reason)
    return LabelledRow(record["id"], record["source"], record.get("group") or record["id"], text, label)
