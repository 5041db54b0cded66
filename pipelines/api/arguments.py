"""Arguments of the public functions: a wrong one is a RecipeError that names it and says what it takes."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any, NoReturn

from windtunnel.schemas.errors import RecipeError


def refuse(name: str, value: Any, takes: str) -> NoReturn:
    """Raise RecipeError for an argument."""
    raise RecipeError(f"{name} is {str(value)[:60] if isinstance(value, int | float) else repr(value)[:60]}: {takes}")


def check_count(name: str, value: Any, takes: str) -> None:
    """Raise RecipeError unless the value is a whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        refuse(name, value, takes)


def check_mapping(name: str, value: Any, takes: str) -> None:
    """Raise RecipeError unless the value is a mapping with names as its keys."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        refuse(name, value, takes)
