"""Tables without lines for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table


def plain_table(columns: Sequence[str], left: int = 1, **options: Any) -> Table:
    """Return an empty table whose first `left` columns are aligned to the left, and the others to the right."""
    table = Table(box=None, pad_edge=False, **options)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right")
    return table
