"""Frames as users have them: read as one table, and given back in the type that came in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.api.pandas_frames import is_pandas, polars_frame
from windtunnel.pipelines.files.formats import is_text
from windtunnel.pipelines.files.user_files import documents_of
from windtunnel.schemas.errors import InputError, nearest
from windtunnel.schemas.work import Counts

if TYPE_CHECKING:
    import pandas

AnyFrame: TypeAlias = "pl.DataFrame | pl.LazyFrame | pa.Table | pa.RecordBatch | pandas.DataFrame"
Texts: TypeAlias = "AnyFrame | Sequence[str] | pl.Series"
Table: TypeAlias = "pl.DataFrame | pa.Table"
Frame = TypeVar("Frame", bound=AnyFrame)

ORIGIN = "frame"  # the source of documents whose frame has no column `source`
READ = ("id", "source", "url", "lang")  # columns of a frame that are those of documents
TEXT = "name the column that holds the text by `text=`"
ROW_GROUP_BYTES = 16 << 20


@dataclass(frozen=True, repr=False)
class Selection(Generic[Frame]):
    """The rows of a frame, sorted: every row is in one of the three frames.

    kept: rows that stay, with the frame's columns and the struct `why` of all measured values. dropped: the other rows,
    with `reason` too. unreadable: rows without readable text, as they came. counts: numbers of rows by reason.
    """

    kept: Frame
    dropped: Frame
    unreadable: Frame
    counts: Counts

    def __repr__(self) -> str:
        counts = self.counts
        reasons = "".join(f"\n  {name}: {n:,}" for name, n in {**counts.dropped, **counts.unreadable}.items())
        return f"{type(self).__name__}: {counts.seen:,} rows, {counts.kept:,} kept{reasons}"


def table_of(frame: Any) -> Table:
    """Return a frame as a polars DataFrame or an Arrow table; a LazyFrame is collected.

    Raises InputError for another type, and for a LazyFrame that fails, with polars' error as its cause.
    """
    if isinstance(frame, pl.DataFrame | pa.Table):
        return frame
    if isinstance(frame, pl.LazyFrame):
        try:
            return frame.collect()
        except Exception as error:  # polars' own, or whatever a user's function in the plan raises
            what = f"{type(error).__name__}: {_first_line(error)}"
            raise InputError(f"the LazyFrame cannot be collected: {what}") from error
    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame])
    if is_pandas(frame):
        check_distinct(frame)
        return polars_frame(frame)
    raise InputError(
        f"a {type(frame).__name__} is no frame: give a polars DataFrame or LazyFrame, a pyarrow Table or RecordBatch, "
        "or a pandas DataFrame"
    )


def as_given(table: Table, given: Frame) -> Frame:
    """Return a table in the type of the frame that was given, which is not one of pandas."""
    result: Any = table
    if isinstance(given, pl.LazyFrame):
        result = cast(pl.DataFrame, table).lazy()
    elif isinstance(given, pa.RecordBatch):
        whole = cast(pa.Table, table).combine_chunks()
        result = (whole.to_batches() or [pa.RecordBatch.from_pylist([], whole.schema)])[0]
    return cast(Frame, result)


def with_columns(table: Table, new: pl.DataFrame) -> Table:
    """Return a table with columns added, in place of those that have their names."""
    if isinstance(table, pl.DataFrame):
        return table.with_columns(new.get_columns())
    whole: Any = table
    for name, column in zip(new.columns, new.to_arrow().columns, strict=True):
        place = whole.schema.get_field_index(name)
        whole = whole.append_column(name, column) if place < 0 else whole.set_column(place, name, column)
    return whole


def polars_of(frame: Any) -> pl.DataFrame:
    """Return a frame as a polars DataFrame; raises InputError where it cannot be one."""
    table = table_of(frame)
    if isinstance(table, pl.DataFrame):
        return table
    check_distinct(table)
    return cast(pl.DataFrame, pl.from_arrow(table))


def text_table(texts: Any, text: str) -> Table:
    """Return a frame, or a list or Series of texts, as a table; InputError unless its column `text` holds text.

    Of a pandas frame it has the columns that documents and scores read: others may be of types that polars refuses.
    """
    if isinstance(texts, pl.Series) or (isinstance(texts, Sequence) and not isinstance(texts, str | bytes)):
        try:
            texts = pl.DataFrame({text: pl.Series(values=texts, dtype=pl.String, strict=True)})
        except (TypeError, pl.exceptions.PolarsError) as error:
            raise InputError(f"a list of texts holds something else than text: {_first_line(error)}") from error
    if is_pandas(texts):
        check_distinct(texts)  # before columns are chosen, which other columns of these names would follow
        texts = texts[[name for name in texts.columns if name in (text, *READ, "group")]] if text in texts else texts
    table = table_of(texts)
    check_text(table, text)
    return table


def documents(texts: Any, text: str) -> pa.Table:
    """Return a frame, or a list or Series of texts, as documents (DOCUMENT); InputError where a row has no text."""
    table = text_table(texts, text)
    arrow = table.to_arrow() if isinstance(table, pl.DataFrame) else table
    if missing := arrow[text].null_count:
        raise InputError(f"{missing:,} of {arrow.num_rows:,} rows have no text (null in {text!r}): leave them out")
    try:
        return documents_of(arrow, text, ORIGIN)
    except pa.ArrowException as error:
        raise InputError(f"the column {text!r} is not all UTF-8 text: {_first_line(error)}") from error


def columns_of(table: Table | pandas.DataFrame) -> list[Any]:
    """Return the names of a table's columns, which are strings unless it is one of pandas."""
    return cast(pa.Table, table).column_names if isinstance(table, pa.Table) else list(table.columns)


def check_text(table: Table, text: str) -> None:
    """Raise InputError unless the table's columns have distinct names and `text` is one that holds text."""
    check_distinct(table)
    check_column(table, text, TEXT)
    kind = (table.select(text).clear().to_arrow() if isinstance(table, pl.DataFrame) else table).schema.field(text).type
    if not is_text(kind):
        raise InputError(f"the frame's column {text!r} holds {kind}, not text: {TEXT}")


def check_column(table: Table | pandas.DataFrame, name: str, advice: str = "") -> None:
    """Raise InputError with the columns that there are, the nearest and some advice, unless one is called `name`."""
    names = columns_of(table)
    if name not in names:
        held = f"it has {', '.join(map(repr, names[:20]))}" if names else "it has no columns"
        close = hint if (hint := nearest(name, map(str, names))).startswith("did you mean") else ""
        raise InputError("; ".join(filter(None, (f"the frame has no column {name!r}", held, close, advice))))


def check_distinct(table: Table | pandas.DataFrame) -> None:
    """Raise InputError where two columns have one name, which Arrow and pandas allow."""
    if twice := [name for name, times in Counter(columns_of(table)).items() if times > 1]:
        raise InputError(f"the frame has several columns called {twice[0]!r}: rename them")


def write(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet, in row groups of about 16 MB, so that what reads it holds little at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = max(1, table.num_rows * ROW_GROUP_BYTES // max(1, table.nbytes))
    pq.write_table(table, path, row_group_size=rows)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")
