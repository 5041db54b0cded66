"""The questions of tasks that models are compared on: of one kind of score, and asked of every model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.role import runs


def asked(
    table: pl.DataFrame, inputs: Mapping[str, Artifact], tasks: Mapping[str, str], score: str
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the rows to compare, and the fields of Comparison on the questions that are not among them.

    `tasks` are the scores that runs are compared by (Evaluation.compared_by) by the title of their task, of which those
    of `score` are compared; without any, all sources are. Raises InputError if no question was asked of every model.
    """
    named = table.filter(pl.col("source").is_in([n for n in table["source"].unique() if _score(n, tasks) == score]))
    dropped: dict[str, dict[str, int]] = {}
    for (mix, _), run in runs(inputs).items():
        counts: dict[str, int] = run.manifest.counts.get("dropped", {})
        dropped[mix] = {key: n for key, n in counts.items() if _score(key.rpartition(":")[0], tasks) == score}
    rows = named.filter(pl.len().over("document") == len(runs(inputs)))
    if rows.is_empty():
        raise InputError("no question of the tasks was asked of every model: raise the `context` of the models")
    kept = Counter(dict(rows.group_by("source").agg(pl.col("document").n_unique()).iter_rows()))
    whole: dict[str, int] = {}
    for mix, _, task, number in named.group_by("mix", "seed", "source").len().iter_rows():
        whole[task] = max(whole.get(task, 0), number + _of_task(dropped[mix], task))
    for counts in dropped.values():
        for task in (key.rpartition(":")[0] for key in counts):
            whole[task] = max(whole.get(task, 0), _of_task(counts, task))
    return rows, {
        "not_asked": dropped if any(dropped.values()) else {},
        "questions": {task: number for task, number in sorted(whole.items()) if number > kept[task]},
        "left_out": named["document"].n_unique() - rows["document"].n_unique(),
    }


def _score(task: str, tasks: Mapping[str, str]) -> str | None:
    """Return the score of a task or of a part of one, TITLE/PART; None of another's."""
    if not tasks:
        return "" if task else None
    titles = [title for title in tasks if task == title or task.startswith(f"{title}/")]
    return tasks[max(titles, key=len)] if titles else None


def _of_task(dropped: Mapping[str, int], task: str) -> int:
    return sum(number for key, number in dropped.items() if key.rpartition(":")[0] == task)
