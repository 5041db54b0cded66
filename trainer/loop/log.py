"""The table of a stage's steps. Values of a GPU wait there until they are looked at together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import torch

from windtunnel.schemas.artifact import write_parquet

OWN = ("step", "tokens", "loss", "lr", "grad_norm")  # columns of the loop, before those of an objective
FILE = "log.parquet"


class Log:
    """Rows of numbers by column; `settle` fetches those that are still scalars on a device."""

    def __init__(self) -> None:
        self.columns: dict[str, list[float]] = {}
        self._waiting: list[dict[str, float | torch.Tensor]] = []

    def add(self, row: Mapping[str, float | torch.Tensor]) -> None:
        """Add the row of a step."""
        self._waiting.append(dict(row))

    @property
    def waiting(self) -> int:
        """The number of rows that are not settled."""
        return len(self._waiting)

    def settle(self) -> list[dict[str, float]]:
        """Fetch the values of all waiting rows in one transfer; return the rows."""
        scalars = [v for row in self._waiting for v in row.values() if isinstance(v, torch.Tensor)]
        fetched = iter(torch.stack([s.detach().double() for s in scalars]).tolist() if scalars else ())
        rows = [
            {name: next(fetched) if isinstance(v, torch.Tensor) else float(v) for name, v in row.items()}
            for row in self._waiting
        ]
        self._waiting = []
        for row in rows:
            for name, value in row.items():
                self.columns.setdefault(name, []).append(value)
        return rows

    def load(self, columns: Mapping[str, np.ndarray]) -> None:
        """Replace the rows by those of a checkpoint."""
        self.columns = {name: values.tolist() for name, values in columns.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the settled rows, float64 [rows] by column."""
        return {name: np.array(values) for name, values in self.columns.items()}

    def write(self, out: Path) -> None:
        """Write the settled rows into `out`."""
        integers = [pl.col("step", "tokens").cast(pl.Int64)] if self.columns else []
        table = pl.DataFrame(self.columns).select(sorted(self.columns, key=_order)).with_columns(integers)
        write_parquet(out / FILE, table)


def _order(column: str) -> tuple[int, str]:
    """Return a sort key that is the same in any resumed run."""
    return (OWN.index(column) if column in OWN else len(OWN), column)
