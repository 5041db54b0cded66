"""Prints the difference of two corpora, as tables or as JSON, and writes its tables as Parquet where that is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from windtunnel.pipelines.engine.mirrors.opening import fetched_path
from windtunnel.pipelines.views.difference import Difference, difference
from windtunnel.pipelines.views.plain_table import plain_table
from windtunnel.schemas.printable import printable

SHOWN = 20  # rows of a table on the terminal; the files hold all


def print_difference(a: str | Path, b: str | Path, out: Path | None, as_json: bool, console: Console) -> None:
    """Compare two corpus directories and print what went, came and was rewritten; `out` takes the Parquet tables."""
    a, b = fetched_path(a), fetched_path(b)
    tables = difference(a, b)
    paths = tables.write(out) if out is not None else []
    if as_json:
        console.print(json.dumps(as_records(tables), indent=1), soft_wrap=True)
        return
    _totals(tables.totals, {"a": a.name, "b": b.name}, console)
    _changes(tables.changes, console)
    _values(tables.sources, "source", console)
    _values(tables.hosts, "host", console)
    for path in paths:
        console.print(str(path))


def as_records(tables: Difference) -> dict[str, Any]:
    """Return the totals, changes and sources as lists of records; hosts and histograms are left to the files."""
    return {name: getattr(tables, name).to_dicts() for name in ("totals", "changes", "sources")}


def _totals(totals: pl.DataFrame, names: dict[str, str], console: Console) -> None:
    for row in totals.iter_rows(named=True):
        name = printable(names[row["corpus"]], 80)
        console.print(f"{row['corpus']}: {name}: {row['documents']:,} documents, {row['bytes']:,} bytes kept")


def _changes(changes: pl.DataFrame, console: Console) -> None:
    whole = changes.group_by("change", "reason").agg(pl.col("documents", "bytes", "bytes_before").sum())
    whole = whole.sort("change", "documents", "reason", descending=[True, True, False])
    table = plain_table(("change", "reason", "documents", "bytes", "bytes before"), left=2)
    for change, reason, documents, size, before in whole.head(SHOWN).iter_rows():
        old = f"{before:,}" if change == "rewritten" else ""
        table.add_row(change, printable(reason or "", 60), f"{documents:,}", f"{size:,}", old)
    console.print(table if whole.height else "no document differs")
    _rest(whole, console)


def _values(frame: pl.DataFrame, column: str, console: Console) -> None:
    sides = [
        frame.filter(pl.col("corpus") == side).select(column, **{side: "documents", f"{side}_bytes": "bytes"})
        for side in ("a", "b")
    ]
    whole = (
        sides[0]
        .join(sides[1], on=column, how="full", coalesce=True, nulls_equal=True)
        .with_columns(pl.exclude(column).fill_null(0))
    )
    whole = whole.with_columns(change=(pl.col("a") - pl.col("b")).abs()).sort(
        "change", column, descending=[True, False]
    )
    if whole.height < 2:
        return
    table = plain_table((column, "a", "b", "bytes a", "bytes b"))
    for row in whole.head(SHOWN).iter_rows(named=True):
        value = printable(row[column] or "-", 60)
        table.add_row(value, *(f"{row[name]:,}" for name in ("a", "b", "a_bytes", "b_bytes")))
    console.print(table)
    _rest(whole, console)


def _rest(frame: pl.DataFrame, console: Console) -> None:
    if frame.height > SHOWN:
        console.print(f"... and {frame.height - SHOWN:,} more rows")
