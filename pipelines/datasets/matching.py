"""Which documents of a batch a `where` condition holds for."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from windtunnel.pipelines.recipe.where import Both, Compare, Condition, In, Not, columns
from windtunnel.pipelines.shards.columns import column


def mask(condition: Condition, rows: pa.RecordBatch) -> np.ndarray:
    """Return a bool a row. A missing value equals nothing, differs from everything and is in no range."""
    frame = pl.DataFrame(
        {name: pl.Series(column(rows, name).to_pylist(), dtype=pl.String) for name in columns(condition)}
    )
    return frame.select(_expression(condition).fill_null(False)).to_series().to_numpy()


def _expression(condition: Condition) -> pl.Expr:
    if isinstance(condition, Not):
        return ~_expression(condition.inner)
    if isinstance(condition, Both):
        left, right = _expression(condition.left), _expression(condition.right)
        return left & right if condition.joiner == "and" else left | right
    if isinstance(condition, In):
        return pl.any_horizontal(pl.lit(False), *(_equal(condition.column, value) for value in condition.values))
    return _comparison(condition)


def _equal(column: str, value: str | None) -> pl.Expr:
    return pl.col(column).eq_missing(pl.lit(value, dtype=pl.String))


def _comparison(condition: Compare) -> pl.Expr:
    if condition.op in ("=", "!="):
        equal = _equal(condition.column, condition.value)
        return equal if condition.op == "=" else ~equal
    number, limit = pl.col(condition.column).cast(pl.Float64, strict=False), float(condition.value)
    chosen = {"<": number < limit, "<=": number <= limit, ">": number > limit, ">=": number >= limit}
    return chosen[condition.op].fill_null(False)
