"""Plug-ins found by module name: a recipe's word is a file, and the file holds one class.

A new rule, source, generator, objective or delta is one new file in its folder; nothing is registered anywhere.
Plug-in modules must not import torch, vllm or ray at module level: recipes are checked and planned without them.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from windtunnel.schemas.errors import RecipeError, nearest

FOLDERS = {
    "source": "windtunnel.pipelines.sources",
    "rule": "windtunnel.pipelines.filters",
    "dedup": "windtunnel.pipelines.dedup",
    "generator": "windtunnel.generators.kinds",
    "judge": "windtunnel.generators.judges",
    "objective": "windtunnel.trainer.objectives",
    "delta": "windtunnel.trainer.deltas",
    "model": "windtunnel.trainer.models",
    "schedule": "windtunnel.trainer.schedules",
    "task": "windtunnel.trainer.tasks",
    "law": "windtunnel.trainer.laws",
}


class Plugin(BaseModel):
    """A frozen, strictly checked set of parameters with behaviour; what recipes name.

    `primary` names the field that a bare value in the recipe fills: `{jsonl: corpus/*.jsonl}` is
    `{jsonl: {path: corpus/*.jsonl}}`. `version` changes whenever the same parameters give other results.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    primary: ClassVar[str | None] = None
    version: ClassVar[int] = 1


def kinds() -> list[str]:
    """Return the kinds of plug-in."""
    return sorted(FOLDERS)


@cache
def names(kind: str) -> tuple[str, ...]:
    """Return the plug-in names of a kind in alphabetical order, importing none of them."""
    if kind not in FOLDERS:
        raise RecipeError(f"no kind of plug-in is called {kind!r}: {nearest(kind, FOLDERS)}")
    folder = _folder(kind)
    return tuple(sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith("_")))


def summary(kind: str, name: str) -> str:
    """Return the first sentence of a plug-in file's docstring, read without importing it."""
    tree = ast.parse((_folder(kind) / f"{name}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def find(kind: str, name: str) -> type[Plugin]:
    """Return the one public plug-in class of the module that `name` names."""
    if name not in names(kind):
        raise RecipeError(f"no {kind} is called {name!r}: {nearest(name, names(kind))}")
    module = importlib.import_module(f"{FOLDERS[kind]}.{name}")
    classes = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Plugin)
        and value.__module__ == module.__name__
        and not key.startswith("_")
    ]
    if len(classes) != 1:
        raise RecipeError(f"{module.__name__} must hold one public plug-in class, it holds {len(classes)}")
    return classes[0]


def make(kind: str, spec: Any) -> Plugin:
    """Build a plug-in from a recipe's words: `name`, `{name: value}` or `{name: {parameter: value}}`.

    Raises RecipeError with the nearest right name for an unknown plug-in or parameter.
    """
    name, params = split(kind, spec)
    cls = find(kind, name)
    if not isinstance(params, dict):
        if cls.primary is None:
            raise RecipeError(f"{kind} {name!r} takes named parameters: {', '.join(cls.model_fields) or 'none'}")
        params = {cls.primary: params}
    for key in params:
        if key not in cls.model_fields:
            raise RecipeError(f"{kind} {name!r} has no parameter {key!r}: {nearest(str(key), cls.model_fields)}")
    try:
        return cls(**params)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{kind} {name!r}, parameter {where!r}: {said}") from error


def split(kind: str, spec: Any) -> tuple[str, Any]:
    """Return (name, parameters) of a recipe's words."""
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, dict) and len(spec) == 1:
        ((name, params),) = spec.items()
        return str(name), {} if params is None else params
    raise RecipeError(f"a {kind} is written as a name or as {{name: parameters}}, not as {spec!r}")


def _folder(kind: str) -> Path:
    parent, _, child = FOLDERS[kind].rpartition(".")
    package = importlib.import_module(parent)
    return Path(str(package.__file__)).parent / child
