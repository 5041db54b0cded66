"""Shows the fate of one document in every corpus of a recipe, or of one row in every set, with its measured values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from windtunnel.pipelines.engine.mirrors.opening import fetched, open_store
from windtunnel.pipelines.plan.builder import planned
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import COPY

DOCUMENTS = ("corpus", "train_split", "held_out")  # the steps that tell what becomes of documents
ROWS = ("read", "generate", "clean", "rows", "select", "union", "held_out", "train_rows", "mix", "pairs")


def tell(recipe_name: str, sets: list[str], document: str, console: Console) -> None:
    """Print the fate of a document or a row (a whole id, or its unique beginning of 6 digits and more).

    Raises InputError where none, or more than one, has an id that begins so.
    """
    plan = planned(recipe_name, sets)
    store = open_store(plan.recipe.store)
    by_id: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for step in plan.steps:
        artifact = step.artifact(store)
        if not artifact.done:
            continue
        for folder in _folders(step.kind):
            for row in _rows(fetched(artifact, folder).intact(folder).files(folder), document):
                by_id.setdefault(row["id"].partition(COPY)[0], []).append((step.name, folder, row))
    if not by_id:
        raise InputError(
            f"no document or row {document!r} in what {recipe_name} has made: ids are shown by `windtunnel show`; "
            "`windtunnel run` may have to come first"
        )
    if len(by_id) > 1:
        some = ", ".join(one_line(name) for name in sorted(by_id)[:3])
        raise InputError(f"ids of several begin with {document!r}: {some}; give more of the one you mean")
    (fates,) = by_id.values()
    _introduce(fates[0][2], console)
    for step_name, folder, row in fates:
        if COPY not in row["id"]:
            _fate(step_name, folder, row, console)


def _folders(kind: str) -> list[str]:
    """Return the folders of a step in which a document or a row is kept, or dropped with its reason."""
    kept = [*(("kept", "documents") if kind in DOCUMENTS else ()), *(("rows",) if kind in ROWS else ())]
    return [*kept, "dropped"] if kept else []


def _rows(files: list[Path], document: str) -> list[dict[str, Any]]:
    if not files or len(document) < 6:
        return []
    frame = pl.scan_parquet(files, missing_columns="insert", extra_columns="ignore")
    return frame.filter(pl.col("id").str.starts_with(document)).head(3).collect().to_dicts()


def _introduce(row: dict[str, Any], console: Console) -> None:
    lang = f"  lang {one_line(row['lang'])}" if row.get("lang") else ""
    console.print(f"{one_line(row['id'])}  source {one_line(row['source'])}{lang}")
    if row.get("lineage"):
        console.print(f"  {one_line(row['lineage'])}")
    console.print(f"  {one_line(row['text'] if 'text' in row else _asked(row))}")


def _asked(row: dict[str, Any]) -> str:
    """Return the first turn of the user in a row, "" where there is none."""
    turns = row.get("messages") or row.get("prompt") or ()
    return next((turn["content"] for turn in turns if turn["role"] == "user"), "")


def _fate(step: str, folder: str, row: dict[str, Any], console: Console) -> None:
    if folder == "dropped":
        by = f" in {row['step']}" if row.get("step") else ""
        like = f", by the held-out row {one_line(row['held_out_id'])}" if row.get("held_out_id") else ""
        console.print(f"{step}: dropped by {one_line(row['reason'])}{by}{like}")
    else:
        console.print(f"{step}: {'held out for evaluation' if step.startswith('held_out') else 'kept'}")
    values = {k: v for k, v in (row.get("why") or {}).items() if v is not None}
    if values:
        shown = [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {one_line(str(v))}" for k, v in values.items()]
        console.print(f"  {', '.join(shown)}")
