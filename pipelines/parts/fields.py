"""The parameters of a plug-in class: types and bounds from pydantic, explanations from the class's own source.

An explanation is the comment behind a field or above it, else the sentence `name: explanation` of the class's
docstring. So nothing is written twice.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from windtunnel.schemas.plugin import Plugin

_FOR_TOOLS = re.compile(r"noqa|type:|pyright:|fmt:|ruff:")


class Parameter(NamedTuple):
    """One parameter. `inherited_from` is the name of the base class that declares it; empty for the class's own."""

    name: str
    type: str
    required: bool
    default: Any  # a JSON value; None where it is required
    bounds: list[str]
    about: str
    inherited_from: str


def parameters(cls: type[Plugin]) -> list[Parameter]:
    """Return the parameters of a class in the order of its fields."""
    owners = {name: owner for owner in reversed(bases(cls)) for name in vars(owner).get("__annotations__", {})}
    return [_parameter(cls, name, field, owners.get(name, cls)) for name, field in cls.model_fields.items()]


def bases(cls: type[Plugin]) -> list[type[Plugin]]:
    """Return the class and the classes it inherits from, up to but without Plugin."""
    return [base for base in cls.__mro__ if issubclass(base, Plugin) and base is not Plugin]


def _parameter(cls: type[Plugin], name: str, field: FieldInfo, owner: type[Plugin]) -> Parameter:
    required = field.is_required()
    default = None if required else to_jsonable_python(field.get_default(call_default_factory=True))
    about = next((text for base in bases(cls) if (text := _explanations(base).get(name))), "")
    inherited = "" if owner is cls else owner.__name__
    return Parameter(name, type_name(field.annotation), required, default, bounds(field.metadata), about, inherited)


def type_name(annotation: Any) -> str:
    """Return a type as it is written: `int | None`, `"replace" | "drop"`, `tuple[str, ...]`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return " | ".join(repr(value) for value in arguments)
    if origin in (Union, UnionType):
        return " | ".join(type_name(argument) for argument in arguments)
    if annotation is Ellipsis:
        return "..."
    if annotation is NoneType or annotation is None:
        return "None"
    name = getattr(origin or annotation, "__name__", str(annotation))
    return f"{name}[{', '.join(type_name(argument) for argument in arguments)}]" if arguments else name


def bounds(metadata: Iterable[Any]) -> list[str]:
    """Return the bounds of a field in words: `> 0`, `<= 1`, `at least 1 long`."""
    words: list[str] = []
    for item in metadata:
        for kind, form in _BOUNDS.items():
            if isinstance(item, kind):
                words.append(form.format(*astuple(item)))
        if pattern := getattr(item, "pattern", None):
            words.append(f"matches {pattern}")
    return words


_BOUNDS: Mapping[type, str] = {
    annotated_types.Gt: "> {}",
    annotated_types.Ge: ">= {}",
    annotated_types.Lt: "< {}",
    annotated_types.Le: "<= {}",
    annotated_types.MinLen: "at least {} long",
    annotated_types.MaxLen: "at most {} long",
}


@cache
def _explanations(cls: type[Plugin]) -> dict[str, str]:
    """Return what the source of one class says of the fields that it declares or its docstring names."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file is None:
        return {}
    source = Path(file).read_text(encoding="utf-8")
    classes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ClassDef) and n.name == cls.__name__]
    if not classes:
        return {}
    comments = _comments(source)
    explanations = _sentences(ast.get_docstring(classes[0]) or "", tuple(cls.model_fields))
    for node in classes[0].body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            behind = comments.get(node.end_lineno or node.lineno)
            above = comments.get(node.lineno - 1)
            text = behind[1] if behind else above[1] if above and above[0] else ""
            if text and not _FOR_TOOLS.match(text):
                explanations[node.target.id] = text
    return explanations


def _comments(source: str) -> dict[int, tuple[bool, str]]:
    """Return by line: whether the comment stands alone there, and its text."""
    comments: dict[int, tuple[bool, str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = (not token.line[: token.start[1]].strip(), token.string.lstrip("#").strip())
    return comments


def _sentences(docstring: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return the explanations `name: text` of a docstring; `a, b: text` explains both."""
    if not names:
        return {}
    name = f"`?(?:{'|'.join(re.escape(each) for each in names)})`?"
    # a name begins a sentence, and several may share one explanation
    mark = re.compile(rf"(?:^|(?<=[.;]\s))(?P<names>(?:{name}, )*{name}): ")
    explanations: dict[str, str] = {}
    for paragraph in docstring.split("\n\n"):
        text = " ".join(paragraph.split())
        marks = list(mark.finditer(text))
        ends = [*(m.start() for m in marks[1:]), len(text)]
        for here, end in zip(marks, ends, strict=False):
            explanation = text[here.end() : end].strip().rstrip(".;")
            explanations |= dict.fromkeys(here["names"].replace("`", "").split(", "), explanation)
    return explanations
