"""What the ratings of a preference set say of their judge: statuses, and whether both orders give the same rating."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

ASPECT = re.compile(r"[A-Za-z]\w{0,39}")  # what may stand in a JSON path
MOST_ORDERS = 8


@dataclass(frozen=True)
class Aspect:
    """One aspect's ratings: how many by status, and how the two orders of one pair of orders agree."""

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
    """Return the aspects of the tables `responses/`; the ratings of an answer stand in the order of presentation.

    Orders come in pairs, each followed by its reverse. Scans the one column in batches and keeps sums only.
    """
    names, orders = _shape(files)
    if not names or not orders:
        return []
    frame = pl.scan_parquet(list(files)).select("ratings")
    columns = [
        pl.col("ratings").str.json_path_match(f"$.{name}[{n}]").alias(f"{name}:{n}")
        for name in names
        for n in range(orders)
    ]
    sums = [each.alias(f"{name}:{key}") for name in names for key, each in _sums(name, orders).items()]
    (row,) = frame.select(columns).select(sums).collect(engine="streaming").to_dicts()
    return [_aspect(name, row) for name in names]


def rated(files: Sequence[Path]) -> pl.LazyFrame:
    """Return the answers that the judge saw: those that failed, or had no other to be compared with, are not rated."""
    return pl.scan_parquet(list(files)).filter(pl.col("ratings") != "{}")


def _shape(files: Sequence[Path]) -> tuple[list[str], int]:
    """Return the aspects' names and the number of orders, as the first answer that was rated has them."""
    if not files:
        return [], 0
    first = rated(files).select("ratings").head(1).collect()
    try:
        found = json.loads(first["ratings"][0]) if first.height else {}
    except ValueError:
        return [], 0
    given = {name: values for name, values in found.items() if ASPECT.fullmatch(name) and isinstance(values, list)}
    return list(given), min(MOST_ORDERS, max((len(values) for values in given.values()), default=0))


def _sums(name: str, orders: int) -> dict[str, pl.Expr]:
    given = [pl.col(f"{name}:{n}") for n in range(orders)]
    numbers = [column.cast(pl.Float64, strict=False) for column in given]
    apart = [(numbers[n] - numbers[n + 1]).abs() for n in range(0, orders - 1, 2)] or [pl.lit(None, pl.Float64)]
    found = {
        status: pl.sum_horizontal([(column == status).sum() for column in given])
        for status in ("not_applicable", "out_of_range", "unreadable")
    }
    return found | {
        "asked": pl.sum_horizontal([column.count() for column in given]),
        "both": pl.sum_horizontal([distance.count() for distance in apart]),
        "same": pl.sum_horizontal([(distance == 0).sum() for distance in apart]),
        "near": pl.sum_horizontal([(distance <= 1).sum() for distance in apart]),
        "apart": pl.sum_horizontal([distance.sum() for distance in apart]),
    }


def _aspect(name: str, row: dict[str, float]) -> Aspect:
    found = {key.partition(":")[2]: value for key, value in row.items() if key.startswith(f"{name}:")}
    both = int(found.pop("both"))
    apart = float(found.pop("apart"))
    counts = {key: int(value) for key, value in found.items()}
    return Aspect(name=name, both=both, apart=apart / both if both else float("nan"), **counts)
