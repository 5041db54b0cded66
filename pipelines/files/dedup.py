"""Deduplicates a user's own files, without a recipe: kept/ and dropped/ with all their columns."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windtunnel.pipelines.dedup._dedup import Dedup
from windtunnel.pipelines.dedup.matching.band_keys import FOLDER
from windtunnel.pipelines.dedup.matching.choice import MEASURED
from windtunnel.pipelines.dedup.matching.key_index import INDEX
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import Progress
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.files.output import write_output
from windtunnel.pipelines.files.row_texts import refuse_edits
from windtunnel.pipelines.files.sort_rows import SortRows
from windtunnel.pipelines.files.user_files import text_of, user_rows, view_in
from windtunnel.pipelines.rows.texts import telling_numbers_apart
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.role import StepName, numbered
from windtunnel.schemas.work import Counts, Work


def dedup_files(
    source: Path | str,
    out: Path,
    kind: str | dict[str, Any],
    text: str = "text",
    save_index: Path | None = None,
    progress: Progress | None = None,
    where: Where | None = None,
) -> Counts:
    """Deduplicate a file or directory into `out/kept` and `out/dropped`; return what came in and where it went.

    `kind` is a method's name or {name: parameters}, as in recipes; parameters may name any column of the files.
    `save_index` keeps the keys, so that other data can be deduplicated against these (`index: DIR`).
    Raises RecipeError for a wrong kind, a method that makes no index, or when `out` or `save_index` holds something
    else, InputError for files that are none; all of it before the work.
    """
    method = make(Dedup, _with_meta(kind))
    if save_index is not None:
        _refuse_place(save_index, out)
    steps: dict[str, Step] = {}

    def add(name: str, work: Work, inputs: Mapping[str, Any]) -> Step:
        steps[name] = Step(StepName.parse(name), work, dict(inputs))
        return steps[name]

    alone = getattr(method, "scope", "corpus") == "shard"  # such a method compares within a shard: a file is one then
    rows = user_rows(source, text, named_columns(kind), alone, "conversation" if method.name == "exact" else "question")
    if view_in(rows) is not None:
        refuse_edits(view_in(rows), method.edits)
        method = make(Dedup, telling_numbers_apart(_with_meta(kind)))
    decided = method.steps(add, "files", rows, None)
    signed = steps.get(f"{method.name}_sign:files")
    if save_index is not None and signed is None:
        raise RecipeError(
            f"{method.name} as given here makes no keys that could be kept as an index: exact, minhash, sentence and "
            "substring with `scope: corpus` do; leave --save-index out or take one of these"
        )
    read = {"rows": rows, "decided": decided, **numbered("measures", [decided])}
    last = add(
        "sort",
        SortRows(text=text_of(rows), hidden=view_in(rows) is not None),
        read | ({"edited": decided} if method.edits else {}),
    )

    def save(store: Path) -> None:
        if save_index is not None and signed is not None:
            _save_index(signed.artifact(store), save_index)

    return write_output(out, rows, last, where, progress, save)


def _save_index(keys: Artifact, folder: Path) -> None:
    """Copy the keys to a name beside `folder` and rename that: an interrupted copy leaves no half of an index."""
    folder = folder.resolve()
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(keys.path / FOLDER, partial / FOLDER)
    shutil.copy(keys.path / INDEX, partial / INDEX)
    os.replace(partial, folder)  # an empty directory of that name gives way


def _refuse_place(folder: Path, out: Path) -> None:
    ours, theirs = folder.resolve(), out.resolve()
    if ours == theirs or ours in theirs.parents or theirs in ours.parents:
        raise RecipeError(f"--save-index {folder} and the output {out} lie in one another: name a directory apart")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecipeError(f"--save-index {folder} exists and is not empty: name a new directory")


_NAMES = ("id", "text", "source", "url", "lang")
_COLUMN_WORDS = ("by", "within", "priority_column")


def named_columns(kind: str | dict[str, Any]) -> list[str]:
    """Return the columns of the user's files that the method's parameters name, beyond those of documents."""
    params = next(iter(kind.values())) if isinstance(kind, dict) else {}
    if not isinstance(params, dict):
        params = {"by": params}
    named = [str(params[word]) for word in _COLUMN_WORDS if params.get(word)]
    named += [name for name in str(params.get("keep", "")).split()[1:] if not name.startswith(MEASURED)]
    return sorted(
        {name.removeprefix("meta.") for name in named if name not in _NAMES and not name.replace(".", "").isdigit()}
    )


def _with_meta(kind: str | dict[str, Any]) -> str | dict[str, Any]:
    """Return the method's words with the user's columns named as the documents' `meta.COLUMN`."""
    columns = set(named_columns(kind))
    if not columns or not isinstance(kind, dict):
        return kind
    ((name, params),) = kind.items()
    if not isinstance(params, dict):
        return {name: f"meta.{params}" if params in columns else params}
    changed = {w: f"meta.{v}" if w in _COLUMN_WORDS and v in columns else v for w, v in params.items()}
    if "keep" in changed:
        changed["keep"] = " ".join(f"meta.{part}" if part in columns else part for part in str(changed["keep"]).split())
    return {name: changed}
