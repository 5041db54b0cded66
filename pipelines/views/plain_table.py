"""Tables without lines for the terminal; where it is narrow, names are folded and never cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

NAME = 5  # characters of a name that a line holds, however narrow the terminal
WIDE = 10_000  # more than any table's width
STRONG: dict[str, Any] = {"header_style": "bold", "padding": (0, 2, 0, 0)}  # options of tables that are an answer


def plain_table(columns: Sequence[Any], left: int = 1, **options: Any) -> Table:
    """Return an empty table whose first `left` columns are names, aligned to the left, and the others numbers."""
    table = Table(box=None, pad_edge=False, **options)
    for number, column in enumerate(columns):
        if number < left:
            table.add_column(column, overflow="fold", min_width=NAME)
        else:
            table.add_column(column, justify="right")
    return table


class SplitTable:
    """A table of some columns, shown as several below one another where the terminal is too narrow for one."""

    def __init__(self, columns: Sequence[str], made: Callable[[Sequence[str]], Table]) -> None:
        """`made` returns the table of some of the columns, with what names its rows."""
        self.columns, self.made = list(columns), made

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        first = 0
        while first < len(self.columns):
            end = first + 1
            while end < len(self.columns) and self._width(console, first, end + 1) <= options.max_width:
                end += 1
            yield self.made(self.columns[first:end])
            first = end

    def _width(self, console: Console, first: int, end: int) -> int:
        wide = console.options.update(max_width=WIDE)
        return console.measure(self.made(self.columns[first:end]), options=wide).maximum
