"""Finds the layout of a file by its columns."""

from __future__ import annotations

from collections.abc import Collection
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


def known() -> list[str]:
    """Return the names of the layouts, in the order in which they are tried."""
    return [plugin.reference(layout) for layout in sorted(_all(), key=lambda layout: layout.rank)]


def advice(columns: Collection[str]) -> str:
    """Return which columns there are, and how one says what they hold."""
    names = sorted(columns)
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    found = ", ".join(escaped(name) for name in names[:_SHOWN]) + rest if names else "none at all"
    return (
        f"its columns are {found}. Name those that hold the rows, for example `layout: {{completion: {{prompt: COLUMN, "
        "completion: COLUMN}}`; `windtunnel list layout` shows all layouts"
    )


def _all() -> list[Layout]:
    base: Any = plugin.base("layout")
    return [plugin.make(base, name) for name in plugin.names("layout")]
