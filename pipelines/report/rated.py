"""Ratings of a preference set by aspect: their statuses, and the agreement of the two orders."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

ASPECT = re.compile(r"[A-Za-z]\w{0,39}")  # safe in a JSON path
MOST_ORDERS = 8


@dataclass(frozen=True)
class Aspect:
    """The ratings of one aspect: counts by status, and the agreement of an order with its reverse."""

    name: str
    asked: int
    not_applicable: int
    out_of_range: int
    unreadable: int
    both: int  # answers with a number in an order and in its reverse
    same: int
    near: int  # at most one level apart
    apart: float  # mean distance in levels; NaN when there are none


def aspects(files: Sequence[Path]) -> list[Aspect]:
    """Return the aspects of the tables `responses/`, where an answer has one rating an order of presentation.

    Orders come in pairs, each followed by its reverse. Scans one column in batches and keeps sums only.
    """
    names, orders = _shape(files)
    if not names or not orders:
        return []
    sums = [pl.struct(**_sums(name, orders)).alias(name) for name in names]  # type: ignore[call-overload]
    (row,) = pl.scan_parquet(list(files)).select(sums).collect(engine="streaming").to_dicts()
    return [_aspect(name, row[name]) for name in names]


def rated(files: Sequence[Path]) -> pl.LazyFrame:
    """Return the answers with ratings: failed ones, and single ones, have none."""
    return pl.scan_parquet(list(files)).filter(pl.col("ratings") != "{}")


def _shape(files: Sequence[Path]) -> tuple[list[str], int]:
    """Return the names of the aspects and the number of orders of the first rated answer."""
    if not files:
        return [], 0
    first = rated(files).select("ratings").head(1).collect()
    try:
        ratings = json.loads(first["ratings"][0]) if first.height else {}
    except ValueError:
        return [], 0
    given = {name: values for name, values in ratings.items() if ASPECT.fullmatch(name) and isinstance(values, list)}
    return list(given), min(MOST_ORDERS, max((len(values) for values in given.values()), default=0))


def _sums(name: str, orders: int) -> dict[str, pl.Expr]:
    given = [pl.col("ratings").str.json_path_match(f"$.{name}[{n}]") for n in range(orders)]
    numbers = [column.cast(pl.Float64, strict=False) for column in given]
    apart = [(numbers[n] - numbers[n + 1]).abs() for n in range(0, orders - 1, 2)] or [pl.lit(None, pl.Float64)]
    statuses = ("not_applicable", "out_of_range", "unreadable")
    return {status: pl.sum_horizontal([(column == status).sum() for column in given]) for status in statuses} | {
        "asked": pl.sum_horizontal([column.count() for column in given]),
        "both": pl.sum_horizontal([distance.count() for distance in apart]),
        "same": pl.sum_horizontal([(distance == 0).sum() for distance in apart]),
        "near": pl.sum_horizontal([(distance <= 1).sum() for distance in apart]),
        "apart": pl.sum_horizontal([distance.sum() for distance in apart]),
    }


def _aspect(name: str, sums: dict[str, float]) -> Aspect:
    apart = float(sums.pop("apart"))
    counts = {key: int(value) for key, value in sums.items()}
    return Aspect(name=name, apart=apart / counts["both"] if counts["both"] else float("nan"), **counts)
