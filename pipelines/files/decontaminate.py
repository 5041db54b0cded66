"""Takes evaluation text out of a user's files, without a recipe, by the same steps as in recipes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windtunnel.pipelines.datasets.decontaminate import Decontamination
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import Progress
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.files.output import write_output
from windtunnel.pipelines.files.row_texts import refuse_edits
from windtunnel.pipelines.files.sort_rows import SortRows
from windtunnel.pipelines.files.user_files import text_of, user_rows, view_in
from windtunnel.pipelines.rows.evaluations import evaluation_step
from windtunnel.schemas.role import StepName
from windtunnel.schemas.work import Counts, Work

OVERLAP = "overlap.parquet"


def decontaminate_files(
    source: Path,
    out: Path,
    against: Mapping[str, Any],
    how: Decontamination,
    text: str = "text",
    progress: Progress | None = None,
    where: Where | None = None,
) -> Counts:
    """Sort a file or directory into `out/kept` and `out/dropped` by overlap with evaluation sets; return the counts.

    `against` maps the name of an evaluation set to its source, as in recipes; sets of rows are seen by their questions.
    `out/overlap.parquet` has one row for each set: its items, n-grams and documents that the files share with it.
    Raises RecipeError for a wrong source or when `out` holds something else, InputError for files that cannot be read.
    """

    def add(name: str, work: Work, inputs: Mapping[str, Any]) -> Step:
        return Step(StepName.parse(name), work, dict(inputs))

    rows = user_rows(source, text, on="conversation")
    refuse_edits(view_in(rows), how.edits)
    evaluations = {name: evaluation_step(add, spec, name) for name, spec in against.items()}
    decided = how.steps(add, "files", rows, None, evaluations)
    edited = {"edited": decided} if how.edits else {}
    last = add(
        "sort",
        SortRows(text=text_of(rows), hidden=view_in(rows) is not None),
        {"rows": rows, "decided": decided, **edited},
    )

    def save(store: Path) -> None:
        os.replace(decided.artifact(store).path / OVERLAP, out / OVERLAP)

    return write_output(out, rows, last, where, progress, save)
