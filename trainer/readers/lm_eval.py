"""Scores that lm-eval writes with --log_samples: a file samples_TASK_TIME.jsonl for each task of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.readers._runs import Record, by_task, number, scores_of, table_of

NAME = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl")
# Metrics of rolling likelihoods are pairs (log-likelihood, length): what they are as a ratio of sums.
RATIOS = {"bits_per_byte": "bits_per_byte", "byte_perplexity": "bits_per_byte", "word_perplexity": "bits_per_word"}


def read(paths: Sequence[Path], runs: str) -> pl.DataFrame:
    """Return the scores of all runs below the paths, as trainer.stats.item_scores has them.

    Metrics of a filter are named METRIC,FILTER as lm-eval names them. Scores of several answers (IFEval's instructions)
    become a ratio, rolling likelihoods bits per byte or word; of choices by likelihood the bits per byte of the right
    one are added as `answer_bits_per_byte`. Raises InputError for two logs of a task in one run.
    """
    return table_of(by_task(scores_of(paths, _files, runs), _task, _of_row))


def _task(file: Path) -> str:
    match = NAME.fullmatch(file.name)
    assert match is not None
    return match["task"]


def _files(root: Path) -> Iterable[Path]:
    return (file for file in root.rglob("samples_*.jsonl") if NAME.fullmatch(file.name))


def _of_row(row: Mapping[str, Any], place: str) -> Iterator[Record]:
    names, document = row.get("metrics"), row.get("doc_id")
    if not isinstance(names, list) or document is None:
        raise InputError(f"{place} has no `doc_id` and `metrics`: it is not a log of lm-eval's --log_samples")
    item = f"{document}-{str(row.get('doc_hash', ''))[:8]}"  # the hash tells two items with one number apart
    filtered = "" if row.get("filter", "none") == "none" else f",{row['filter']}"
    found: dict[str, tuple[float, float | None]] = {}
    for name in map(str, names):
        if (score := _score(name, row.get(name), place)) is not None:
            found.setdefault(score[0], score[1])
    if (bits := _answer_bits(row)) is not None and not filtered:
        found["answer_bits_per_byte"] = bits
    for metric, (value, weight) in found.items():
        yield {"document": item, "metric": f"{metric}{filtered}", "value": value, "weight": weight}


def _score(name: str, value: Any, place: str) -> tuple[str, tuple[float, float | None]] | None:
    """Return the metric's name and its (value, weight); None for values that only make sense over all items."""
    if not isinstance(value, list):
        is_number = isinstance(value, bool | int | float)
        return (name, (number(value, place, name), None)) if is_number or value is None else None
    if name in RATIOS and len(value) == 2:
        nats, size = -number(value[0], place, name), number(value[1], place, name)
        return RATIOS[name], (nats / math.log(2), size)
    if value and all(isinstance(part, bool) for part in value):
        return name, (float(sum(value)), float(len(value)))
    return None


def _answer_bits(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the bits and the bytes of the right choice, where the row holds the likelihood of every choice."""
    replies, asked, target = row.get("filtered_resps"), row.get("arguments"), str(row.get("target"))
    if not isinstance(replies, list) or not isinstance(asked, dict) or len(asked) != len(replies) or len(replies) < 2:
        return None
    texts = [asked.get(f"gen_args_{k}", {}).get("arg_1") for k in range(len(replies))]
    if not all(isinstance(text, str) and text.strip() for text in texts) or not target.isdecimal():
        return None
    if int(target) >= len(replies) or not isinstance(replies[int(target)], list):
        return None
    try:
        nats = -float(replies[int(target)][0])
    except (ValueError, TypeError, IndexError):
        return None
    return nats / math.log(2), float(len(texts[int(target)].strip().encode("utf-8", "surrogatepass")))
