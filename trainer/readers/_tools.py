"""The readers by the name of their tool."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from windtunnel.schemas.errors import InputError, RecipeError, nearest
from windtunnel.trainer.stats.item_scores import selected


def tools() -> list[str]:
    """Return the names of the tools whose scores can be read."""
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in found if not module.name.startswith("_"))


def read_scores(tool: str, paths: Sequence[Path], runs: str, metrics: Sequence[str] = ()) -> pl.DataFrame:
    """Return the per-item scores of runs as trainer.stats.item_scores has them, restricted to metrics where given.

    `runs` says which path is which run: a pattern with {mix} and {seed}, or the file of a table with dir, mix, seed.
    Raises RecipeError for an unknown tool or metric, InputError for files that cannot be read or told apart.
    """
    if tool not in tools():
        raise RecipeError(f"no tool is called {tool!r}: {nearest(tool, tools())}")
    reader = importlib.import_module(f"windtunnel.trainer.readers.{tool}")
    table = reader.read(paths, runs)
    if table.is_empty():
        raise InputError(f"{', '.join(map(str, paths))}: the files have no scores")
    return selected(table, metrics)
