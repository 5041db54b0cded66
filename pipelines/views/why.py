"""Shows the fate of one document or row in every corpus and set of a recipe, with its measured values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from windtunnel.pipelines.engine.mirrors.opening import fetched, open_store
from windtunnel.pipelines.plan.builder import planned
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.printable import one_line

KINDS = (
    "corpus", "train_split", "held_out",
    "read", "clean", "rows", "select", "train_rows", "mix", "pairs",  # of conversations and preferences
)  # fmt: skip


def tell(recipe_name: str, sets: list[str], document: str, console: Console) -> None:
    """Print the fate of a document (a whole id, or its unique beginning of 6 digits and more).

    Raises InputError where no document, or more than one, has an id that begins so.
    """
    plan = planned(recipe_name, sets)
    store = open_store(plan.recipe.store)
    by_id: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for step in plan.steps:
        artifact = step.artifact(store)
        if step.kind not in KINDS or not artifact.done or (step.kind == "read" and not artifact.files("rows")):
            continue
        for folder in ("kept", "documents", "rows", "dropped"):
            for row in _rows(fetched(artifact, folder).intact(folder).files(folder), document):
                by_id.setdefault(row["id"], []).append((step.name, folder, row))
    if not by_id:
        raise InputError(
            f"no document or row {document!r} is finished in {recipe_name}: ids are shown by `windtunnel show`; "
            "`windtunnel run` may have to come first"
        )
    if len(by_id) > 1:
        some = ", ".join(one_line(name) for name in sorted(by_id)[:3])
        raise InputError(f"ids of several documents begin with {document!r}: {some}; give more of the one you mean")
    (fates,) = by_id.values()
    _introduce(next((row for _, folder, row in fates if folder != "dropped"), fates[0][2]), console)
    for step_name, folder, row in fates:
        _fate(step_name, folder, row, console)


def _rows(files: list[Path], document: str) -> list[dict[str, Any]]:
    if not files or len(document) < 6:
        return []
    frame = pl.scan_parquet(files, missing_columns="insert", extra_columns="ignore")
    return frame.filter(pl.col("id").str.starts_with(document)).head(3).collect().to_dicts()


def _introduce(row: dict[str, Any], console: Console) -> None:
    lang = f"  lang {one_line(row['lang'])}" if row.get("lang") else ""
    console.print(f"{one_line(row['id'])}  source {one_line(str(row.get('source')))}{lang}")
    turns = [turn for name in ("messages", "prompt", "chosen", "rejected") for turn in row.get(name) or ()]
    text = row.get("text") or " | ".join(f"{turn['role']}: {turn['content']}" for turn in turns)
    console.print(f"  {one_line(text)}")
    if row.get("lineage"):
        console.print(f"  {one_line(row['lineage'])}")


def _fate(step: str, folder: str, row: dict[str, Any], console: Console) -> None:
    if folder == "dropped":
        by = f" in {row['step']}" if row.get("step") else ""
        near = f", as the held-out row {row['held_out_id']} asks" if row.get("held_out_id") else ""
        alike = f" ({row['similarity']:.2f})" if near and row.get("similarity") else ""
        console.print(f"{step}: dropped by {row['reason']}{by}{near}{alike}")
    else:
        console.print(f"{step}: {'held out for evaluation' if step.startswith('held_out') else 'kept'}")
    values = {k: v for k, v in (row.get("why") or {}).items() if v is not None}
    if values:
        shown = [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {one_line(str(v))}" for k, v in values.items()]
        console.print(f"  {', '.join(shown)}")
