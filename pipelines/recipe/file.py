"""Reads a recipe file: YAML, then `--set` changes, then a checked Recipe; every error names its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from windtunnel.pipelines.recipe import recipe as shape
from windtunnel.pipelines.recipe.check import check
from windtunnel.pipelines.recipe.mixes import TAGS
from windtunnel.pipelines.recipe.yaml_loader import Keys, load
from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import RecipeError, nearest


def read(path: Path, sets: list[str] | None = None) -> shape.Recipe:
    """Return the recipe of a YAML file with `key=value` changes applied.

    Raises RecipeError: `FILE, line N: what is wrong: the nearest right word`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"there is no recipe file {path}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    with plugin_files.relative_to(path.parent):
        return parse(text, sets or [], origin=str(path), stem=path.stem)


def parse(text: str, sets: list[str], origin: str = "recipe", stem: str = "recipe") -> shape.Recipe:
    """Return the recipe written in `text`; `origin` names it in errors, `stem` names its default store."""
    document = load(text, origin)
    data = document.value
    if not isinstance(data, dict):
        raise RecipeError(f"{origin}: a recipe is a mapping with `question:` and `corpora:`")
    for change in sets:
        apply(data, change)
    data.setdefault("store", f"runs/{stem}")
    try:
        recipe = shape.Recipe.model_validate(data)
        check(recipe)
    except ValidationError as error:
        first = error.errors()[0]
        keys = tuple(key for key in first["loc"] if key not in TAGS)
        raise RecipeError(f"{origin}{document.place(keys)}: {_explain(first, keys)}") from None
    except RecipeError as error:
        raise RecipeError(f"{origin}{document.place(error.path)}: {error}") from error
    return recipe


def placed(path: Path, error: RecipeError) -> RecipeError:
    """Return an error that was found after reading, by planning, with the recipe's file and line where it has any."""
    if not error.path:
        return error
    document = load(path.read_text(encoding="utf-8"), str(path))
    return RecipeError(f"{path}{document.place(error.path)}: {error}")


def apply(data: dict[str, Any], change: str) -> None:
    """Apply one `--set` change such as `corpora.filtered.rules[0].language.threshold=0.8` in place."""
    key, equals, value = change.partition("=")
    if not equals:
        raise RecipeError(f"--set {change!r}: write it as key=value")
    path: list[str | int] = []
    for piece in key.strip().split("."):
        match = re.fullmatch(r"([^\[\]]+)((?:\[\d+\])*)", piece)
        if match is None:
            raise RecipeError(f"--set {change!r}: {piece!r} is not a key, nor key[index]")
        path.append(match[1])
        path.extend(int(i) for i in re.findall(r"\d+", match[2]))
    _assign(data, path, load(value, f"--set {change!r}").value, change)


def _assign(data: Any, path: list[str | int], value: Any, change: str) -> None:
    node: Any = data
    for key, below in zip(path, [*path[1:], None], strict=True):
        if not _has_place(node, key):
            raise RecipeError(f"--set {change!r}: the recipe has no place {key!r} there")
        if below is None:
            node[key] = value
            return
        inner = node[key] if isinstance(key, int) else node.get(key)
        if isinstance(inner, str) and isinstance(below, str):  # a plug-in named without parameters
            inner = {inner: {}}
        node[key] = {} if inner is None else inner
        node = node[key]


def _has_place(node: Any, key: str | int) -> bool:
    """Return whether a key of a mapping, or an index of a list, can be assigned."""
    in_list = isinstance(node, list) and isinstance(key, int) and key < len(node)
    return in_list or (isinstance(node, dict) and isinstance(key, str))


def _explain(error: Any, keys: Keys) -> str:
    where = ".".join(str(k) for k in keys)
    if error["type"] == "extra_forbidden":
        return f"{where}: no such word here: {nearest(str(keys[-1]), _fields_at(keys[:-1]))}"
    if error["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"


def _fields_at(keys: Keys) -> list[str]:
    """Return the names of the fields at a place of the recipe; empty where it holds no part of a recipe."""
    model: type[BaseModel] | None = shape.Recipe
    for key in keys:
        fields = model.model_fields.items() if model is not None else ()
        field = next((field for name, field in fields if key in (name, field.alias)), None)
        if field is not None:
            model = _inner_model(field.annotation)
    return [field.alias or name for name, field in model.model_fields.items()] if model is not None else []


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_inner_model(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)
