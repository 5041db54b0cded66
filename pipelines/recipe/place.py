"""Errors with their place in a recipe, which the reader turns into a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from windtunnel.pipelines.recipe.yaml_loader import Keys
from windtunnel.schemas import plugin
from windtunnel.schemas.errors import RecipeError, nearest


@contextmanager
def placing(*path: str | int) -> Iterator[None]:
    """Give a RecipeError raised in the block the keys of its place, unless it has some."""
    try:
        yield
    except RecipeError as error:
        if error.path:
            raise
        raise at(path, str(error)) from error


def at(path: Keys, message: str) -> RecipeError:
    """Return a RecipeError with the keys that lead to its place in the recipe."""
    error = RecipeError(message)
    error.path = path
    return error


def known(name: str, names: Iterable[str], kind: str, path: Keys) -> None:
    """Raise RecipeError, with the nearest right name, for a name that is none of `names`."""
    if name not in names:
        raise at(path, f"no {kind} is called {name!r}: {nearest(name, names)}")


def made(kind: str, spec: Any, path: Keys) -> plugin.Plugin:
    """Return the plug-in that a spec names. Raises RecipeError with the place of a wrong one."""
    try:
        return plugin.make(plugin.base(kind), spec)
    except RecipeError as error:
        raise at(path, str(error)) from error
