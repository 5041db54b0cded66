"""Applies rules to a user's files, without a recipe, by the same steps as in recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import Progress
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.files.output import write_output
from windtunnel.pipelines.files.row_texts import refuse_edits
from windtunnel.pipelines.files.sort_rows import SortRows
from windtunnel.pipelines.files.user_files import text_of, user_rows, view_in
from windtunnel.pipelines.filters._stages import stages
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.role import StepName, numbered
from windtunnel.schemas.work import Counts


def filter_files(
    source: Path | str,
    out: Path,
    rules: list[Any],
    exact_words: bool = False,
    text: str = "text",
    progress: Progress | None = None,
    language: str | None = None,
    where: Where | None = None,
) -> Counts:
    """Filter a file or directory into `out/kept` and `out/dropped`; return what came in and where it went.

    `rules` are written as in recipes. The files' columns stay; `why` holds every measured value and `dropped` has the
    `reason`; rows that could not be read are listed in `out/unreadable`. `language` says whose tokens exact words are
    (English without it). Raises RecipeError for an unknown rule, or when `out` holds something else, InputError for
    files that are none.
    """
    if not rules:
        raise RecipeError("name at least one rule, such as gopher_quality: `windtunnel list rule` shows them")
    if language and not exact_words:
        raise RecipeError("--language names whose words --exact-words finds; the fast ones need no language")
    rows = user_rows(source, text, on="answers")
    last = _chain(rows, rules, "exact" if exact_words else "fast", language or "en", text_of(rows))
    return write_output(out, rows, last, where, progress)


def _chain(rows: Step, rules: list[Any], words: str, language: str, text: str) -> Step:
    """Return the sorting step behind all stages of the rules."""
    documents, decisions = rows, None
    measures: list[Step] = []
    for number, stage in enumerate(stages(rules, words, language, step="filter"), start=1):
        inputs = {"measures": measures[-1]} if stage.kind == "decide" else {"documents": documents}
        if decisions is not None:
            inputs["decisions"] = decisions
        step = Step(StepName(stage.kind, number), stage.work, inputs)
        if stage.kind == "measure":
            measures.append(step)
        elif stage.kind == "decide":
            decisions = step
        else:
            documents = step
    assert decisions is not None
    inputs = {"rows": rows, "decided": decisions, **numbered("measures", measures)}
    refuse_edits(view_in(rows), documents is not rows)
    if documents is not rows:
        inputs["edited"] = documents
    return Step(StepName("sort"), SortRows(text=text, hidden=view_in(rows) is not None), inputs)
