"""Plug-ins: the parts that a recipe names, one class per file.

A recipe refers to a part in one of three ways: by the name of a built-in module (`gopher_quality`), by the name of an
entry point that an installed package declares in the group of the part's kind (`windtunnel.rules`), or by a class in a
file next to the recipe (`./my_rule.py:MyRule`). There is no registry. Built-in plug-in modules import torch, vllm and
ray inside functions only, so that recipes can be checked and planned without them.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import RecipeError, WindtunnelError, advice_for, nearest


class Kind(NamedTuple):
    """Where the parts of one kind are looked up."""

    package: str  # built-in parts: every module whose name does not begin with `_`
    base: str  # module:Class
    group: str  # entry point group of installed packages


KINDS = {
    "source": Kind("pipelines.sources", "pipelines.sources._source:Source", "sources"),
    "layout": Kind("pipelines.layouts", "pipelines.layouts._layout:Layout", "layouts"),
    "rule": Kind("pipelines.filters", "pipelines.filters._rule:Rule", "rules"),
    "dedup": Kind("pipelines.dedup", "pipelines.dedup._dedup:Dedup", "dedup"),
    "generator": Kind("generators.kinds", "generators.core.generator:Generator", "generators"),
    "family": Kind("generators.families", "generators.families._family:Family", "families"),
    "judge": Kind("generators.judges", "generators.judges._judge:Judge", "judges"),
    "objective": Kind("trainer.objectives", "trainer.objectives._objective:Objective", "objectives"),
    "delta": Kind("trainer.deltas", "trainer.deltas._delta:Delta", "deltas"),
    "model": Kind("trainer.models", "trainer.models._model:Model", "models"),
    "optimizer": Kind("trainer.optimizers", "trainer.optimizers._optimizer:Optimizer", "optimizers"),
    "logger": Kind("trainer.loggers", "trainer.loggers._logger:Logger", "loggers"),
    "schedule": Kind("trainer.schedules", "trainer.schedules._schedule:Schedule", "schedules"),
    "task": Kind("trainer.tasks", "trainer.tasks._evaluation:Evaluation", "tasks"),
    "reward": Kind("trainer.rewards", "trainer.rewards._reward:Reward", "rewards"),
    "constraint": Kind("trainer.constraints", "trainer.constraints._constraint:Constraint", "constraints"),
    "law": Kind("trainer.laws", "trainer.laws._form:LawForm", "laws"),
}


class Plugin(BaseModel):
    """A frozen, validated set of parameters with behaviour; the base class of every kind of part.

    `primary` names the field that a bare value sets: `{jsonl: corpus/*.jsonl}` is `{jsonl: {path: corpus/*.jsonl}}`.
    `unkeyed` names parameters without an influence on results, such as how many requests are sent at a time.
    `version` is increased whenever the same parameters give different results; it is part of the key of every step that
    uses the part.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    primary: ClassVar[str | None] = None
    unkeyed: ClassVar[frozenset[str]] = frozenset()
    version: ClassVar[int] = 1
    external: ClassVar[plugin_files.External | None] = None  # None for built-in parts

    def nested(self) -> Iterable[Plugin]:
        """Return the plug-ins named in this one's parameters, such as the delta of an objective."""
        return ()

    def keyed(self) -> dict[str, Any]:
        """Return the parameters that are part of a key, as JSON values."""
        return self.model_dump(mode="json", exclude=set(self.unkeyed))

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return what a description of the class holds besides its parameters, as JSON values."""
        return {}


P = TypeVar("P", bound=Plugin)


def reference(part: Plugin | type[Plugin]) -> str:
    """Return the name under which recipes refer to a part."""
    return part.external.reference if part.external else part.__module__.rpartition(".")[2]


def label(part: Plugin | type[Plugin]) -> str:
    """Return a short name for drop reasons, step names and tables: the reference, or the class name in snake case."""
    if part.external is None or part.external.path is None:
        return reference(part)
    cls = part if isinstance(part, type) else type(part)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()


def digest(part: Plugin | type[Plugin]) -> str:
    """Return the blake3 digest (32 hexadecimal digits) of the file that defines the part's class."""
    return part.external.digest if part.external else plugin_files.module_digest(part.__module__)


@contextmanager
def errors_of(part: Plugin, doing: str) -> Iterator[None]:
    """Turn an exception of a part's code into a WindtunnelError that names the part and what it was asked for."""
    try:
        yield
    except WindtunnelError:
        raise
    except (Exception, SystemExit) as error:
        if advice_for(error):
            raise  # a full disk or memory: the message says what to do
        name = f"{kind_of(type(part))} {reference(part)!r}"
        raise WindtunnelError(f"{name} failed in {doing}: {type(error).__name__}: {error}") from error


def with_parts(plugins: Iterable[Plugin]) -> Iterator[Plugin]:
    """Yield plug-ins, each followed by the plug-ins nested in it."""
    for plugin in plugins:
        yield plugin
        yield from with_parts(plugin.nested())


def kinds() -> list[str]:
    """Return the kinds of plug-in."""
    return sorted(KINDS)


@cache
def base(kind: str) -> type[Plugin]:
    """Return the base class of a kind."""
    module, _, name = _kind(kind).base.partition(":")
    return getattr(importlib.import_module(f"windtunnel.{module}"), name)


def kind_of(cls: type[Plugin]) -> str:
    """Return the kind of a base class or of one of its subclasses."""
    known = {f"windtunnel.{kind.base}": name for name, kind in KINDS.items()}
    for ancestor in cls.__mro__:
        if name := known.get(f"{ancestor.__module__}:{ancestor.__qualname__}"):
            return name
    raise TypeError(f"{cls.__name__} belongs to no kind of plug-in: {', '.join(kinds())}")


def names(kind: str) -> tuple[str, ...]:
    """Return the names of the built-in and installed parts of a kind in alphabetical order, without importing them."""
    return tuple(sorted({*built_in(kind), *entry_points(kind)}))


@cache
def built_in(kind: str) -> tuple[str, ...]:
    """Return the names of the built-in parts of a kind in alphabetical order, without importing them."""
    modules = pkgutil.iter_modules([str(_folder(kind))])
    return tuple(sorted(m.name for m in modules if not m.ispkg and not m.name.startswith("_")))


def entry_points(kind: str) -> dict[str, Any]:
    """Return the entry points of installed packages for a kind, by name; built-in names take precedence."""
    points = plugin_files.entry_points(f"windtunnel.{_kind(kind).group}")
    return {name: point for name, point in points.items() if name not in built_in(kind)}


def summary(kind: str, name: str) -> str:
    """Return the first line of a part's docstring; built-in modules are parsed, not imported."""
    if name in built_in(kind):
        tree = ast.parse((_folder(kind) / f"{name}.py").read_text(encoding="utf-8"))
        return (ast.get_docstring(tree) or "").partition("\n")[0]
    return f"from the installed package {plugin_files.package_of(entry_points(kind)[name])}"


def find(kind: type[P], name: str) -> type[P]:
    """Return the class that a reference names; `kind` is the base class of its kind.

    Raises RecipeError for an unknown name, a file that cannot be loaded, or a class of another kind.
    """
    word = kind_of(kind)
    if plugin_files.is_file_reference(name):
        cls = plugin_files.from_file(word, name, Plugin)
    elif name in built_in(word):
        module = importlib.import_module(f"windtunnel.{KINDS[word].package}.{name}")
        cls = plugin_files.only_class(module, f"{word} {name!r}", Plugin)
    elif name in entry_points(word):
        cls = plugin_files.from_entry_point(word, name, entry_points(word)[name], kind)
    else:
        raise RecipeError(f"no {word} is called {name!r}: {nearest(name, names(word))}")
    if not (isinstance(cls, type) and issubclass(cls, kind)):
        raise RecipeError(f"{word} {name!r}: {getattr(cls, '__name__', cls)} is not a subclass of {kind.__name__}")
    if plugin_files.is_file_reference(name) and label(cls) in names(word):
        raise RecipeError(
            f"{word} {name!r}: its label would be {label(cls)!r}, and there is a {word} of that name: rename the class"
        )
    return cls


def make(kind: type[P], spec: Any) -> P:
    """Build a plug-in from its spec: `name`, `{name: value}` or `{name: {parameter: value}}`.

    `kind` is the base class; an instance of it is returned unchanged. Raises RecipeError for an unknown plug-in or
    parameter.
    """
    if isinstance(spec, kind):
        return spec
    word = kind_of(kind)
    name, params = split(word, spec)
    cls = find(kind, name)
    if missing := getattr(cls, "__abstractmethods__", None):
        raise RecipeError(f"{word} {reference(cls)!r} must define {', '.join(sorted(missing))}")
    if not isinstance(params, dict):
        if cls.primary is None:
            raise RecipeError(f"{word} {name!r} takes named parameters: {', '.join(cls.model_fields) or 'none'}")
        params = {cls.primary: params}
    for key in params:
        if key not in cls.model_fields:
            raise RecipeError(f"{word} {name!r} has no parameter {key!r}: {nearest(str(key), cls.model_fields)}")
    try:
        return cls(**params)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{word} {name!r}, parameter {where!r}: {reason}") from error


def split(kind: str, spec: Any) -> tuple[str, Any]:
    """Return (name, parameters) of a spec."""
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, dict) and len(spec) == 1:
        ((name, params),) = spec.items()
        return str(name), {} if params is None else params
    raise RecipeError(f"a {kind} is written as a name or as {{name: parameters}}, not as {spec!r}")


def full_spec(part: Plugin) -> dict[str, Any]:
    """Return the spec of a plug-in with all parameters, so that omitted and explicit defaults compare equal."""
    return {reference(part): part.model_dump(mode="json")}


def keyed_spec(part: Plugin) -> dict[str, Any]:
    """Return the spec of a plug-in with all parameters that are part of a key."""
    return {reference(part): part.keyed()}


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise RecipeError(f"no kind of plug-in is called {name!r}: {nearest(name, KINDS)}")
    return KINDS[name]


def _folder(kind: str) -> Path:
    parent, _, child = _kind(kind).package.rpartition(".")
    package = importlib.import_module(f"windtunnel.{parent}")
    return Path(str(package.__file__)).parent / child
