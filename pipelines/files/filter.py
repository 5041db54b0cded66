"""Applies rule sets to a user's own Parquet or JSONL files, without a recipe, by the same steps as in recipes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import Progress, run
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.files.sort_rows import SortRows
from windtunnel.pipelines.files.user_files import user_rows, workers_for
from windtunnel.pipelines.filters._stages import stages
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.work import Counts

STEPS = ".steps"  # inside OUT while the work goes on; an interrupted run takes it up again


def filter_files(
    source: Path | str,
    out: Path,
    rules: list[Any],
    exact_words: bool = False,
    text: str = "text",
    progress: Progress | None = None,
    language: str | None = None,
) -> Counts:
    """Filter a file or directory into `out/kept` and `out/dropped`; return what came in and where it went.

    `rules` are written as in recipes. The files' columns stay; `why` holds every measured value and `dropped` has the
    `reason`; rows that could not be read are listed in `out/unreadable`. `language` says whose tokens exact words are
    (English without it). Raises RecipeError for an unknown rule, or when `out` holds something else, InputError for
    files that are none.
    """
    if not rules:
        raise RecipeError("name at least one rule: --rules gopher_quality,...; `windtunnel list rule` shows them")
    if out.exists() and any(entry.name != STEPS for entry in out.iterdir()):
        raise RecipeError(f"{out} is not empty: name a new directory")
    if language and not exact_words:
        raise RecipeError("--language names whose words --exact-words finds; the fast ones need no language")
    rows = user_rows(source, text)
    last = _chain(rows, rules, "exact" if exact_words else "fast", language or "en", text)
    store = out / STEPS
    run([last], store, Where(workers=workers_for(rows)), progress)
    read = Counts.model_validate(rows.artifact(store).manifest.counts)
    sort = Counts.model_validate(last.artifact(store).manifest.counts)
    for folder in ("kept", "dropped"):
        os.replace(last.artifact(store).path / folder, out / folder)
    os.replace(rows.artifact(store).path / "unreadable", out / "unreadable")
    shutil.rmtree(store)
    return Counts(seen=read.seen, kept=sort.kept, dropped=sort.dropped, unreadable=read.unreadable).check("filter")


def _chain(rows: Step, rules: list[Any], words: str, language: str, text: str) -> Step:
    """Return the sorting step behind all stages of the rules."""
    documents, decisions = rows, None
    measures: list[Step] = []
    for number, stage in enumerate(stages(rules, words, language, step="filter"), start=1):
        inputs = {"measures": measures[-1]} if stage.kind == "decide" else {"documents": documents}
        if decisions is not None:
            inputs["decisions"] = decisions
        step = Step(f"{stage.kind}:{number}", stage.work, inputs)
        if stage.kind == "measure":
            measures.append(step)
        elif stage.kind == "decide":
            decisions = step
        else:
            documents = step
    assert decisions is not None
    inputs = {"rows": rows, "decided": decisions, **{f"measures{i}": m for i, m in enumerate(measures, start=1)}}
    if documents is not rows:
        inputs["edited"] = documents
    return Step("sort", SortRows(text=text), inputs)
