"""Frames of pandas: rows are taken from the frame that was given, so that columns keep types that Arrow does not have.

pandas is imported nowhere here: a frame of it is there only where the user has imported it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import polars as pl
import pyarrow as pa

from windtunnel.schemas.errors import InputError

if TYPE_CHECKING:
    import pandas

_REFUSED = (pl.exceptions.PolarsError, pa.ArrowException, TypeError, ValueError, OverflowError)


def is_pandas(frame: Any) -> TypeGuard[pandas.DataFrame]:
    """Return whether a frame is one of pandas."""
    module = sys.modules.get("pandas")
    return module is not None and isinstance(frame, module.DataFrame)


def polars_frame(frame: pandas.DataFrame) -> pl.DataFrame:
    """Return a frame with distinct column names in polars; InputError with the name of a column that cannot be."""
    try:
        return pl.from_pandas(frame)
    except _REFUSED as error:
        name, cause = _refused(frame) or (None, error)
        what = "the pandas frame" if name is None else f"the pandas frame's column {name!r}"
        reason = next(iter(str(cause).splitlines()), "")
        raise InputError(f"{what} cannot be read; are its values of mixed types? {reason}") from error


def rows_at(frame: pandas.DataFrame, places: np.ndarray) -> pandas.DataFrame:
    """Return the rows at some positions, under a new index."""
    return frame.iloc[places].reset_index(drop=True)


def with_new(frame: pandas.DataFrame, new: pl.DataFrame) -> pandas.DataFrame:
    """Return a frame with columns added, in place of those that have their names, under a new index."""
    columns = {name: new[name].to_pandas() for name in new.columns}
    return frame.reset_index(drop=True).assign(**columns)


def put_together(
    frame: pandas.DataFrame, before: pl.DataFrame, places: np.ndarray, back: pl.DataFrame, text: str
) -> pandas.DataFrame:
    """Return the rows at `places` with what the steps made of them.

    `before` holds the columns that the steps were given, all rows; `back` has these first, in the same order, some
    under another name, then the new ones. Text is replaced in the rows where it was edited, and nowhere else.
    """
    renamed = dict(zip(before.columns, back.columns, strict=False))
    was = before[places]
    result = rows_at(frame, places).rename(columns=renamed)
    old, now = (_plain(side[text]) for side in (was, back))
    edited = np.flatnonzero((old != now).to_numpy())
    if len(edited):
        result[text] = _replaced(result[text], edited, now.gather(edited).to_list())
    written = [name for name in back.columns if name not in renamed.values()]
    if "why" in renamed and renamed["why"] == "why" and not _same(was["why"], back["why"]):
        written.append("why")  # a struct that took in new values
    return with_new(result, back.select(written)) if written else result


def _refused(frame: pandas.DataFrame) -> tuple[Any, Exception] | None:
    """Return the first column that is refused, and how."""
    for place, name in enumerate(frame.columns):
        try:
            pl.from_pandas(frame.iloc[:, [place]])
        except _REFUSED as error:
            return name, error
    return None


def _plain(column: pl.Series) -> pl.Series:
    return column if column.dtype == pl.Binary else column.cast(pl.String)


def _same(one: pl.Series, other: pl.Series) -> bool:
    return one.dtype == other.dtype and one.equals(other)


def _replaced(column: Any, places: np.ndarray, values: list[Any]) -> Any:
    """Return a column of pandas with other values at some positions; a categorical one gets them as categories."""
    column = column.copy()
    if isinstance(column.dtype, sys.modules["pandas"].CategoricalDtype):
        known = set(column.cat.categories)
        column = column.cat.add_categories([value for value in dict.fromkeys(values) if value not in known])
    column.iloc[places] = values
    return column
