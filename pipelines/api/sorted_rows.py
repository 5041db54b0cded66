"""Rows of a frame, sorted by the steps that the commands run on files, and put together again with all columns.

The text and the columns that the steps read go through a Parquet file in a temporary directory, so memory holds no more
than the frame, the result and a batch. The other columns are not touched, so they keep their types. Rows of a pandas
frame are taken from it by position, since its types do not all outlive the way through Arrow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.api.arguments import check_count
from windtunnel.pipelines.api.frames import (
    ORIGIN,
    READ,
    TEXT,
    Frame,
    Selection,
    Table,
    as_given,
    check_column,
    check_distinct,
    check_text,
    columns_of,
    table_of,
    write,
)
from windtunnel.pipelines.api.pandas_frames import is_pandas, put_together, rows_at
from windtunnel.pipelines.api.temporary_files import temporary_folder
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.readers.columns import without_views
from windtunnel.schemas.work import Counts

_WRITTEN = re.compile("(why|reason)(_before)*")  # columns that the steps write, or rename where the frame has them

Sort = Callable[[Path, Path, Where], Counts]  # (file of rows, output directory, where to run) -> counts


def sorted_rows(frame: Frame, text: str, named: Sequence[str], workers: int, sort: Sort) -> Selection[Frame]:
    """Return the rows of a frame as `sort` sorts them; `named` are the columns that it reads beside the documents'.

    Raises InputError for a frame without these columns, or one that cannot be read, RecipeError for other arguments.
    """
    check_count("workers", workers, "give a whole number of processes, from 1 on")
    table: Any = frame if is_pandas(frame) else table_of(frame)
    check_distinct(table)
    check_column(table, text, TEXT)
    for name in named:
        check_column(table, name)
    names = columns_of(table)
    sent = [name for name in names if name in (text, *READ, *named) or _WRITTEN.fullmatch(str(name))]
    number = _free("row", names)
    before = table_of(table[sent]) if is_pandas(table) else table.select(sent)
    check_text(before, text)
    part = before.to_arrow() if isinstance(before, pl.DataFrame) else before
    with temporary_folder() as folder:
        file, out = folder / f"{ORIGIN}.parquet", folder / "out"
        write(part.append_column(number, pa.array(np.arange(part.num_rows))), file)
        del part
        counts = sort(file, out, Where("inline") if workers == 1 else Where("local", int(workers)))
        kept, dropped = (pq.read_table(sorted((out / name).glob("*.parquet"))) for name in ("kept", "dropped"))
    unreadable = np.ones(len(table), bool)
    for rows in (kept, dropped):
        unreadable[rows[number].to_numpy()] = False
    if is_pandas(table):
        assert isinstance(before, pl.DataFrame)
        good, bad = (_of_pandas(table, before, rows, text, number) for rows in (kept, dropped))
        rest: Any = rows_at(table, np.flatnonzero(unreadable))
        return Selection(cast(Frame, good), cast(Frame, bad), rest, counts)
    return Selection(
        as_given(_together(table, kept, text, sent, number), frame),
        as_given(_together(table, dropped, text, sent, number), frame),
        as_given(_chosen(table, unreadable), frame),
        counts,
    )


def _of_pandas(frame: Any, before: pl.DataFrame, rows: pa.Table, text: str, number: str) -> Any:
    back = cast(pl.DataFrame, pl.from_arrow(rows.drop_columns([number])))
    return put_together(frame, before, rows[number].to_numpy(), back, text)


def _together(table: Table, rows: pa.Table, text: str, sent: list[str], number: str) -> Table:
    """Return the rows in all columns: text, `why` and `reason` as they came back, the others from the table."""
    back = [name for name in rows.column_names if name != number]
    now = dict(zip(sent, back, strict=False))  # a column that is set aside has another name, in its place
    order = [now.get(name, name) for name in columns_of(table)] + back[len(sent) :]
    same = [name for name in columns_of(table) if name != text and not _WRITTEN.fullmatch(name)]
    mask = np.zeros(len(table), bool)
    mask[rows[number].to_numpy()] = True  # rows come back in their order
    new = rows.select([name for name in back if name not in same])
    if isinstance(table, pl.DataFrame):
        fresh = cast(pl.DataFrame, pl.from_arrow(new)).with_columns(pl.col(text).cast(table.schema[text]))
        if not same:  # without columns the rest has no height
            return fresh.select(order)
        whole = cast(pl.DataFrame, _chosen(table.select(same), mask)).hstack(fresh)
        return whole.select(order)
    whole = cast(pa.Table, _chosen(table.select(same), mask))
    for name in new.column_names:
        column = new[name].cast(table.schema.field(text).type) if name == text else new[name]
        whole = whole.append_column(name, column)
    return whole.select(order)


def _chosen(table: Table, mask: np.ndarray) -> Table:
    """Return the rows of a mask; the columns keep their types."""
    if isinstance(table, pl.DataFrame):
        return table.filter(mask)
    # Arrow filters no views
    plain = pa.schema([field.with_type(without_views(field.type)) for field in table.schema])
    return table.cast(plain).filter(pa.array(mask)).cast(table.schema)


def _free(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name
