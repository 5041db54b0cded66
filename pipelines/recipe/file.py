"""Reads a recipe file: YAML -> `--set` changes -> a checked Recipe, every error with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from windtunnel.pipelines.recipe import recipe as shape
from windtunnel.pipelines.recipe.check import check
from windtunnel.pipelines.recipe.yaml_loader import RecipeLoader, load
from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import RecipeError, nearest

Keys = tuple[str | int, ...]


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
    try:
        tree = yaml.compose(text, Loader=RecipeLoader)
        _refuse_repeats(tree, origin)
        data = load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise RecipeError(f"{origin}{line}: not YAML: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise RecipeError(f"{origin}: nested too deeply for a recipe") from None
    except (ValueError, LookupError) as error:  # how PyYAML fails on 2026-13-45 or !!int x
        raise RecipeError(f"{origin}: not YAML: a value that is none of its type ({error})") from None
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
        keys = tuple(first["loc"])
        raise RecipeError(f"{origin}{_line(tree, keys)}: {_explain(first, keys)}") from None
    except RecipeError as error:
        keys = getattr(error, "path", ())
        raise RecipeError(f"{origin}{_line(tree, keys)}: {error}") from error
    return recipe


def placed(path: Path, error: RecipeError) -> RecipeError:
    """Return an error that was found after reading, by planning, with the recipe's file and line where it has any."""
    keys: Keys = getattr(error, "path", ())
    if not keys:
        return error
    tree = yaml.compose(path.read_text(encoding="utf-8"), Loader=RecipeLoader)
    return RecipeError(f"{path}{_line(tree, keys)}: {error}")


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
    try:
        parsed = load(value)
        _refuse_repeats(yaml.compose(value, Loader=RecipeLoader), f"--set {change!r}")
    except (yaml.YAMLError, ValueError, LookupError, RecursionError):
        raise RecipeError(f"--set {change!r}: the value is not YAML") from None
    _assign(data, path, parsed, change)


def _assign(data: Any, path: list[str | int], value: Any, change: str) -> None:
    node = data
    for i, key in enumerate(path[:-1]):
        if isinstance(node, list) and isinstance(key, int) and key < len(node):
            if isinstance(node[key], str):  # a bare plug-in name grows parameters
                node[key] = {node[key]: {}}
            node = node[key]
        elif isinstance(node, dict) and isinstance(key, str):
            if isinstance(node.get(key), str) and isinstance(path[i + 1], str):
                node[key] = {node[key]: {}}
            if node.get(key) is None:
                node[key] = {}
            node = node[key]
        else:
            raise RecipeError(f"--set {change!r}: the recipe has no place {key!r} there")
    last = path[-1]
    fits = isinstance(last, str) if isinstance(node, dict) else isinstance(last, int) and last < len(node)
    if not isinstance(node, (dict, list)) or not fits:
        raise RecipeError(f"--set {change!r}: the recipe has no place {last!r} there")
    node[last] = value  # type: ignore[index]


def _refuse_repeats(tree: Any, origin: str) -> None:
    """Raise RecipeError for a key that stands twice or is no word, and for an alias of what it stands in."""
    above: set[int] = set()
    done: set[int] = set()  # aliases of aliases would be walked through again and again

    def walk(node: Any) -> None:
        if id(node) in above:
            raise RecipeError(
                f"{origin}, line {node.start_mark.line + 1}: what begins here contains itself, by an alias"
            )
        if id(node) in done or not isinstance(node, (yaml.MappingNode, yaml.SequenceNode)):
            return
        above.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _refuse_keys([key for key, _ in node.value], origin)
        for child in node.value:
            walk(child[1] if isinstance(node, yaml.MappingNode) else child)
        above.remove(id(node))
        done.add(id(node))

    walk(tree)


def _refuse_keys(keys: list[Any], origin: str) -> None:
    seen: set[str] = set()
    for key in keys:
        where = f"{origin}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise RecipeError(f"{where}: a key is a word, not a list or a mapping")
        if key.value in seen:
            raise RecipeError(f"{where}: {key.value!r} stands twice")
        seen.add(key.value)


def _line(tree: Any, keys: Keys) -> str:
    node, line = tree, None
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        else:
            break
    return f", line {line}" if line else ""


def _explain(error: Any, keys: Keys) -> str:
    where = ".".join(str(k) for k in keys)
    if error["type"] == "extra_forbidden":
        return f"{where}: no such word here: {nearest(str(keys[-1]), _fields_at(keys[:-1]))}"
    if error["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"


def _fields_at(keys: Keys) -> list[str]:
    model: Any = shape.Recipe
    for key in keys:
        field = _field(model, str(key)) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if field is not None:
            model = _inner_model(field.annotation)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [f.alias or n for n, f in model.model_fields.items()]


def _field(model: type[BaseModel], key: str) -> Any:
    return next((f for n, f in model.model_fields.items() if key in (n, f.alias)), None)


def _inner_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _inner_model(inner)
        if found is not None:
            return found
    return None
