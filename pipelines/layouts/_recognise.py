"""Finds the layout of a file by its columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from windtunnel.pipelines.layouts._layout import Layout
from windtunnel.schemas import plugin
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.printable import escaped

_SHOWN = 12


def recognised(columns: Collection[str], where: str) -> Layout:
    """Return the layout that fits the columns of `where`; raises InputError that names them where none does."""
    fitting = [layout for layout in _all() if layout.fits(columns)]
    if not fitting:
        raise InputError(f"{where} has none of the known layouts of rows ({', '.join(known())}); {advice(columns)}")
    return min(fitting, key=lambda layout: layout.rank)


class Votes:
    """Reads records only to see which layout most of them have, by the columns in which they hold something."""

    origin = ""

    def __init__(self) -> None:
        self.columns: set[str] = set()
        self.files: dict[str, list[str]] = {}  # those whose columns were looked at
        self._votes: Counter[str] = Counter()
        self._layouts = {plugin.reference(layout): layout for layout in _all()}

    def row(self, record: Mapping[str, Any], where: str, replace: bool = False) -> bool:
        held = [name for name, value in record.items() if value is not None]
        self.columns.update(record)
        fitting = [(layout.rank, name) for name, layout in self._layouts.items() if layout.fits(held)]
        if fitting:
            self._votes[min(fitting)[1]] += 1
        return True

    def wanted(self, names: list[str]) -> list[str]:
        return names

    def check(self, columns: list[str], where: str) -> None:
        """Note the columns; what they mean is for the records to say."""
        self.columns.update(columns)
        self.files[where] = columns

    def layout(self, where: str) -> Layout | None:
        """Return the layout of most records, the first of equals; without any, that of the columns, if there are some.

        Raises InputError for columns that have no known layout.
        """
        if self._votes:
            return self._layouts[self._votes.most_common(1)[0][0]]
        return recognised(self.columns, where) if self.columns else None


def other(record: Mapping[str, Any], layout: Layout) -> str | None:
    """Return the name of another layout that a record has by what it holds, where it has not this one; else None."""
    held = [name for name, value in record.items() if value is not None]
    if layout.fits(held):
        return None
    fitting = [(each.rank, plugin.reference(each)) for each in _all() if each.fits(held)]
    return min(fitting)[1] if fitting else None


def known() -> list[str]:
    """Return the names of the layouts, in the order in which they are tried."""
    return [plugin.reference(layout) for layout in sorted(_all(), key=lambda layout: layout.rank)]


def check_layout(layout: Layout, columns: Collection[str], where: str) -> None:
    """Raise InputError that names the columns of a file which has another layout."""
    if not layout.fits(columns):
        raise InputError(f"{where} does not have the layout {plugin.label(layout)!r}; {advice(columns)}")


def advice(columns: Collection[str]) -> str:
    """Return which columns there are, and how one says what they hold."""
    names = sorted(columns)
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    found = ", ".join(escaped(name) for name in names[:_SHOWN]) + rest if names else "none at all"
    return (
        f"its columns are {found}. Name those that hold the rows, for example `layout: {{completion: {{prompt: COLUMN, "
        "completion: COLUMN}}`; `windtunnel list layout` shows all layouts"
    )


@cache
def _all() -> tuple[Layout, ...]:
    base: Any = plugin.base("layout")
    return tuple(plugin.make(base, name) for name in plugin.names("layout"))
