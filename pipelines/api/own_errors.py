"""Errors of the public functions: the package's own classes, whatever a library below raised."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from pydantic import ValidationError

from windtunnel.schemas.errors import RecipeError, WindtunnelError, advice_for, value_message

P = ParamSpec("P")
R = TypeVar("R")


def own_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Return a public function that raises RecipeError for a refused value and WindtunnelError for a full disk."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except ValidationError as error:
            raise RecipeError(f"{function.__name__}: {value_message(error)}") from error
        except WindtunnelError:
            raise
        except Exception as error:
            if hint := advice_for(error):
                raise WindtunnelError(f"{function.__name__}: {hint}") from error
            raise

    return call
