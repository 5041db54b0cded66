"""The output of filter, dedup and decontaminate on files: a new directory with kept/, dropped/ and unreadable/."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import Progress, run
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.files.user_files import workers_for
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.work import Counts

STEPS = ".steps"  # inside the output while the steps run; an interrupted run takes it up again


def write_output(
    out: Path,
    rows: Step,
    last: Step,
    where: Where | None = None,
    progress: Progress | None = None,
    save: Callable[[Path], None] | None = None,
) -> Counts:
    """Run the steps from `rows` (UserRows) to `last` (SortRows) and move their files into `out`; return the counts.

    `save` is called with the steps' store before it is removed. Raises RecipeError when `out` holds something else.
    """
    if out.exists() and any(entry.name != STEPS for entry in out.iterdir()):
        raise RecipeError(f"{out} is not empty: name a new directory")
    store = out / STEPS
    run([last], store, where or Where(workers=workers_for(rows)), progress)
    read, sort = (Counts.model_validate(step.artifact(store).manifest.counts) for step in (rows, last))
    if save is not None:
        save(store)
    for folder in ("kept", "dropped"):
        os.replace(last.artifact(store).path / folder, out / folder)
    os.replace(rows.artifact(store).path / "unreadable", out / "unreadable")
    shutil.rmtree(store)
    return Counts(seen=read.seen, kept=sort.kept, dropped=sort.dropped, unreadable=read.unreadable).check(out.name)
