"""Scores of plain files: CSV, Parquet or JSON Lines with a row an item.

Columns: `item` (or `document`, `id`), a column for each metric, or `metric, value`; optionally `task`, `group`, and
`mix, seed`, without which they come from the path. A file of one run holds its scores alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.readers._runs import scores_of
from windtunnel.trainer.stats.item_scores import COLUMNS, RUN
from windtunnel.trainer.stats.paired import read_table

ITEM = ("item", "document", "id", "doc_id")
ABOUT = ("mix", "seed", "task", "group", "source", *ITEM)
ONE = "items"  # the name of the task where every run is one file
SUFFIXES = (".csv", ".parquet", ".jsonl", ".ndjson")
TEXT: dict[str, pl.DataType | type[pl.DataType]] = dict.fromkeys(ABOUT, pl.String)


def read(paths: Sequence[Path], runs: str) -> pl.DataFrame:
    """Return the scores of files, or of those below directories, as trainer.stats.item_scores has them.

    A file without a column `task` is a task of its name; where every run is one file, the task is called `items`.
    Raises InputError for a file without items or scores.
    """
    tables = {}
    for path in paths:
        tables |= {file: _table(file) for file in ([path] if path.is_file() else sorted(_files(path)))}
    if not tables:
        raise InputError(f"{', '.join(map(str, paths))}: there is no file of scores ({', '.join(SUFFIXES)})")
    unnamed = {file for file, table in tables.items() if not {"mix", "seed"} <= set(table.columns)}
    roots = [path for path in paths if any(file == path or path in file.parents for file in unnamed)]
    named = list(scores_of(roots, lambda root: [f for f in unnamed if f == root or root in f.parents], runs, True))
    single = all(len(files) == 1 for _, files in named)
    for run, files in named:
        for file in files:
            task = (
                pl.when(pl.lit(single)).then(pl.col("task").replace({file.stem: ONE})).otherwise("task").alias("task")
            )
            tables[file] = tables[file].with_columns(task, mix=pl.lit(run.mix), seed=pl.lit(run.seed))
    return pl.concat([table.select([*RUN, *COLUMNS]) for table in tables.values()])


def _files(root: Path) -> Iterable[Path]:
    return (file for file in root.rglob("*") if file.suffix in SUFFIXES and file.is_file())


def _table(file: Path) -> pl.DataFrame:
    """Return the rows of a file in long form, with mix and seed where it has them."""
    table = read_table(file, "scores", TEXT)
    item = next((name for name in ITEM if name in table.columns), None)
    if item is None:
        raise InputError(f"{file} has no column of items ({', '.join(ITEM)}): {', '.join(table.columns) or 'none'}")
    long = {"metric", "value"} <= set(table.columns)
    metrics = [n for n, kind in table.schema.items() if n not in (*ABOUT, "weight", "chance") and _is_score(kind)]
    if not long and not metrics:
        raise InputError(f"{file} has no column of scores, that is of numbers, beside {', '.join(table.columns)}")
    about = [name for name in ("mix", "seed") if name in table.columns]
    keys = table.with_columns(
        pl.col(item).cast(pl.String).alias("document"),
        (pl.col("task").cast(pl.String) if "task" in table.columns else pl.lit(file.stem)).alias("task"),
        pl.col("group" if "group" in table.columns else item).cast(pl.String).alias("group"),
        (pl.col("weight").cast(pl.Float64) if "weight" in table.columns else pl.lit(None, pl.Float64)).alias("weight"),
        (pl.col("chance").cast(pl.Float64) if "chance" in table.columns else pl.lit(None, pl.Float64)).alias("chance"),
        *(pl.col(name).cast(pl.String) for name in about),
    )
    index = [*about, "document", "task", "group", "weight", "chance"]
    if long:
        rows = keys.select(*index, pl.col("metric").cast(pl.String), pl.col("value").cast(pl.Float64, strict=False))
    else:
        wide = keys.select(*index, *(pl.col(name).cast(pl.Float64) for name in metrics if name not in index))
        rows = wide.unpivot(index=index, variable_name="metric", value_name="value")
    if rows["document"].null_count() or rows["value"].null_count():
        raise InputError(f"{file}: an item or a score is empty: every item needs all scores")
    return rows


def _is_score(kind: pl.DataType) -> bool:
    return kind.is_numeric() or kind == pl.Boolean
