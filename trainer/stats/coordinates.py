"""Content histograms as the coordinates of a mixing law: the share of each domain's text in each content cluster.

The histogram of a mix is the weighted mean of those of its domains. A law of it does not depend on how text is divided
into domains: a domain that is split, merged or renamed keeps its content, and new domains are mixes of known content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from windtunnel.schemas.errors import InputError, RecipeError, nearest
from windtunnel.trainer.stats.paired import read_table

NAMES = "domain"  # the column that names the domains


@dataclass(frozen=True)
class Coordinates:
    """The histograms of domains, `shares` [domains, clusters], whose rows sum to one; `origin` names them in errors."""

    domains: tuple[str, ...]
    shares: np.ndarray
    origin: str

    @property
    def clusters(self) -> int:
        return self.shares.shape[1]

    @classmethod
    def of_file(cls, path: Path) -> Coordinates:
        """Return the histograms of a file (CSV, Parquet or JSON lines); see `of_table`."""
        return cls.of_table(read_table(path, "content histograms"), str(path))

    @classmethod
    def of_table(cls, table: pl.DataFrame, origin: str = "coordinates") -> Coordinates:
        """Return the histograms of a table with the column `domain` and a numeric column for each cluster.

        Each row is divided by its sum. Raises RecipeError where a column is missing, InputError for text among the
        shares, a domain without a name or with two rows, shares that are negative, missing or not finite, and rows of
        zeros.
        """
        if NAMES not in table.columns:
            raise RecipeError(f"{origin}: no column is called {NAMES!r}: {nearest(NAMES, table.columns)}")
        columns = [name for name in table.columns if name != NAMES]
        if len(columns) < 2:
            raise RecipeError(f"{origin}: a histogram has two clusters at least, beside the column {NAMES!r}")
        for name in columns:
            if not (table[name].dtype.is_numeric() or table[name].dtype == pl.Null):
                raise InputError(f"{origin}: column {name!r} holds {table[name].dtype}, not numbers")
        domains = table[NAMES].cast(pl.String).to_list()
        shares = table.select(pl.col(columns).cast(pl.Float64).fill_null(np.nan)).to_numpy()
        for row, (name, share) in enumerate(zip(domains, shares, strict=True), start=1):
            if name is None:
                raise InputError(f"{origin}: row {row} names no domain")
            if (first := domains.index(name) + 1) < row:
                raise InputError(f"{origin}: {name!r} has two rows, {first} and {row}: a domain has one histogram")
            if (bad := ~np.isfinite(share) | (share < 0)).any():
                at = int(np.argmax(bad))
                raise InputError(f"{origin}: row {row}, {name!r}: the share of {columns[at]!r} is {share[at]}")
            if not share.sum() > 0:
                raise InputError(f"{origin}: row {row}, {name!r}: all shares are zero")
        return cls(tuple(domains), shares / shares.sum(axis=1, keepdims=True), origin)

    def at(self, weights: np.ndarray, domains: Sequence[str]) -> np.ndarray:
        """Return the histograms [mixes, clusters] of mixes with the given weights [mixes, domains].

        Raises RecipeError for a domain without a row.
        """
        for name in domains:
            if name not in self.domains:
                raise RecipeError(f"{self.origin}: no row for the domain {name!r}: {nearest(name, self.domains)}")
        return weights @ self.shares[[self.domains.index(name) for name in domains]]
