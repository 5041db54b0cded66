"""Errors of the public functions: the package's own classes, whatever a library below raised."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from numbers import Real
from typing import Any, ParamSpec, TypeVar

from pydantic import ValidationError

from windtunnel.pipelines.api.arguments import refuse
from windtunnel.pipelines.readers.fields import MissingColumn
from windtunnel.schemas.errors import InputError, RecipeError, WindtunnelError, advice_for, value_message

P = ParamSpec("P")
R = TypeVar("R")

# Annotations whose arguments are checked, as they are written: the names in them are not looked up, since some are
# those of packages that are imported for type checking alone. Any iterable will do for a list.
_PLAIN: dict[str, tuple[Any, str]] = {
    "None": (type(None), "None"),
    "str": (str, "a string"),
    "int": (Real, "a whole number"),
    "float": (Real, "a number"),
    "Path": (os.PathLike, "a path"),
    "Sequence[str]": (Iterable, "a list of strings"),
    "Sequence[int]": (Iterable, "a list of whole numbers"),
    "Sequence[Spec]": (Iterable, "a list of names or {name: parameters}"),
    "Spec": (str | Mapping, "a name, {name: parameters}"),
    "Mapping[str, float]": (Mapping, "a mapping of names to numbers"),
    "Mapping[str, Any]": (Mapping, "a mapping"),
}


def own_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Return a public function that raises RecipeError for a refused value and WindtunnelError for a full disk."""
    signature = inspect.signature(function)
    checks = {name: plain for name, p in signature.parameters.items() if (plain := _plain(p))}

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in checks and not any(_fits(value, part) for part in checks[name]):
                wanted = " or ".join(_PLAIN[part][1] for part in checks[name])
                refuse(f"{function.__name__}: {name}", value, f"give {wanted}")
        try:
            return function(*args, **kwargs)
        except ValidationError as error:
            raise RecipeError(f"{function.__name__}: {value_message(error)}") from error
        except MissingColumn as error:  # its advice is for recipes
            words = f"name it in the source, as in {{'jsonl': {{'path': FILE, {error.parameter!r}: COLUMN}}}}"
            raise InputError(f"{error.what}; {words}") from error
        except WindtunnelError:
            raise
        except Exception as error:
            if hint := advice_for(error):
                raise WindtunnelError(f"{function.__name__}: {hint}") from error
            raise

    return call


def _plain(parameter: inspect.Parameter) -> list[str]:
    """Return the annotations that a parameter takes; none where others than those of _PLAIN are among them."""
    words: Any = parameter.annotation
    if parameter.kind is parameter.VAR_KEYWORD or not isinstance(words, str) or words == "Spec":  # make() checks those
        return []
    parts = words.split(" | ")
    return parts if all(part in _PLAIN for part in parts) else []


def _fits(value: Any, part: str) -> bool:
    """Return whether a value is of an annotation's type; 1e6 is a whole number."""
    number = part in ("int", "float")
    return (
        isinstance(value, _PLAIN[part][0])
        and not (number and isinstance(value, bool))
        and (part != "int" or value % 1 == 0)
    )
