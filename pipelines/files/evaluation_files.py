"""Evaluation sets as files that a command names: their sources, and the column of questions, or the layout of rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from windtunnel.pipelines.files.formats import files_of, reader_of
from windtunnel.pipelines.layouts._turns import PROMPTS
from windtunnel.pipelines.rows.evaluations import FURTHER, TEXT, questions_in
from windtunnel.pipelines.rows.peek import peek
from windtunnel.pipelines.sources._source import RecordSource
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.plugin import full_spec


def evaluation_sources(named: Sequence[Any]) -> dict[str, Any]:
    """Return the source of each evaluation set by its name: of files the name without endings.

    Raises RecipeError for two sets of one name, InputError for a file without a column of questions.
    """
    sets: dict[str, Any] = {}
    for each in named:
        if isinstance(each, dict):
            found = {str(name): source for name, source in each.items()}
        else:
            found = {Path(str(each)).name.partition(".")[0] or "set": _source(str(each))}
        if twice := set(found) & set(sets):
            raise RecipeError(f"two evaluation sets are called {min(twice)!r}: name them, '{{NAME: {{jsonl: FILE}}}}'")
        sets |= found
    if not sets:
        raise RecipeError("name at least one evaluation set in --against")
    return sets


def _source(path: str) -> dict[str, Any]:
    first = files_of(path)[0]
    reader = reader_of(str(first), "text")
    if not isinstance(reader, RecordSource):
        return full_spec(reader)
    ((name, _),) = full_spec(reader).items()
    if questions_in(reader) is None and TEXT not in peek(reader).votes.columns:
        raise InputError(
            f"{path} has no column of questions ({', '.join((TEXT, *PROMPTS, *FURTHER))}) and no known layout of rows; "
            "say which it is: --against '{NAME: {jsonl: {path: FILE, text: COLUMN}}}'"
        )
    return {name: {"path": path}}
