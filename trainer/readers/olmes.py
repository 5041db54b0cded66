"""Scores that OLMES (oe-eval) writes: task-NNN-TASK-predictions.jsonl beside task-NNN-TASK-metrics.json."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.readers._runs import Record, by_task, number, scores_of, table_of

NAME = re.compile(r"task-\d+-(?P<task>.+)-predictions\.jsonl")
# What is no score: indices of choices, and sums that depend on the length of the answer.
NO_SCORES = ("predicted_index_*", "correct_choice", "no_answer", "sum_logits_*", "label", "num_*")


def read(paths: Sequence[Path], runs: str) -> pl.DataFrame:
    """Return the scores of all runs below the paths, as trainer.stats.item_scores has them.

    A task is named by the alias in its metrics file, else by the file's name. Raises InputError for two files of
    a task.
    """
    return table_of(by_task(scores_of(paths, _files, runs), _task, _of_row))


def _files(root: Path) -> Iterable[Path]:
    return (file for file in root.rglob("task-*-predictions.jsonl") if NAME.fullmatch(file.name))


def _task(file: Path) -> str:
    match = NAME.fullmatch(file.name)
    assert match is not None
    about = file.with_name(file.name.removesuffix("predictions.jsonl") + "metrics.json")
    try:
        config = json.loads(about.read_bytes()).get("task_config", {})
        alias = (config.get("metadata") or {}).get("alias")
    except (OSError, ValueError, AttributeError):
        alias = None
    return alias if isinstance(alias, str) and alias else match["task"]


def _of_row(row: Mapping[str, Any], place: str) -> Iterator[Record]:
    metrics, document = row.get("metrics"), row.get("doc_id")
    if not isinstance(metrics, dict) or document is None:
        raise InputError(f"{place} has no `doc_id` and `metrics`: it is not a prediction file of OLMES")
    item = f"{document}-{row['native_id']}" if row.get("native_id") is not None else str(document)
    for name, value in metrics.items():
        if isinstance(value, bool | int | float) and not any(fnmatch.fnmatchcase(name, no) for no in NO_SCORES):
            yield {"document": item, "metric": name, "value": number(value, place, name)}
