"""Plug-in classes from outside the package: files next to a recipe, and entry points of installed packages.

A file, and the files beside it that it imports (`from .words import LIST`), are read once; the bytes that are hashed
are the bytes that are executed. Their digest is part of the key of every step that uses the class. A run pins the
digests: a worker rejects a file whose digest differs.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

from blake3 import blake3

from windtunnel.schemas.errors import InputError, RecipeError, nearest
from windtunnel.schemas.part_code import PACKAGE, Code, code_of, execute, installed_digest


class External(NamedTuple):
    """Origin of a class from outside the package."""

    reference: str
    digest: str  # blake3 of the file and of what it imports from its project, 32 hexadecimal digits
    path: str | None  # relative to the recipe's directory; None for an entry point


class Place(NamedTuple):
    """The directory to which file references are relative, and the digests that the files must have."""

    directory: Path
    pins: Mapping[str, str]  # path of a file, relative to the directory -> digest


_place: ContextVar[Place | None] = ContextVar("plugin_place", default=None)


@contextmanager
def relative_to(directory: Path, pins: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Resolve file references against `directory` within the block; `pins` maps relative paths to required digests."""
    token = _place.set(Place(Path(directory), pins))
    try:
        yield
    finally:
        _place.reset(token)


def directory() -> Path:
    """Return the directory of file references: that of the current recipe, or the working directory."""
    place = _place.get()
    return place.directory if place else Path.cwd()


def file_class(name: str) -> type | None:
    """Return the class `PATH.py:Class`, such as a Work defined in a plug-in file; None for any other form of name."""
    if not is_file_reference(name):
        return None
    module, _ = _module("work", name)
    return getattr(module, name.partition(".py:")[2])


def file_reference(cls: type) -> str | None:
    """Return `./PATH.py:Class` for a class defined in a plug-in file; None for any other class."""
    if not cls.__module__.startswith(f"{PACKAGE}."):
        return None
    path = Path(str(sys.modules[cls.__module__].__file__)).relative_to(directory().resolve())
    return f"./{path.as_posix()}:{cls.__name__}"


def digest_of_work(cls: type) -> str:
    """Return the digest of the plug-in file that defines a class; an empty string for any other class."""
    return module_digest(cls.__module__) if cls.__module__.startswith(f"{PACKAGE}.") else ""


def is_file_reference(name: str) -> bool:
    """Return whether a reference names a file: `PATH.py:Class` or `PATH.py`."""
    return re.fullmatch(r"[^:\n]+\.py(:\w+)?", name) is not None


def from_file(kind: str, reference: str, base: type) -> Any:
    """Return the class that `PATH.py:Class` names, or the only plug-in class of `PATH.py`.

    Raises RecipeError for a path outside the recipe's directory, a missing file, a file that fails to execute, and a
    missing or ambiguous class; InputError when the file changed since the run began.
    """
    where = f"{kind} {reference!r}"
    module, relative = _module(kind, reference)
    name = reference.partition(".py:")[2]
    cls = _named_class(module, name, where, base) if name else only_class(module, where, base)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", cls.__name__):
        raise RecipeError(
            f"{where}: the class name {cls.__name__!r} must consist of at most 64 ASCII letters, digits and '_'"
        )
    cls.external = External(f"./{relative}:{cls.__name__}", module_digest(module.__name__), relative)
    return cls


@cache
def entry_points(group: str) -> dict[str, metadata.EntryPoint]:
    """Return the entry points of a group by name; on a name clash, that of the first package on the path."""
    points: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=group):
        points.setdefault(point.name, point)
    return points


def from_entry_point(kind: str, name: str, point: metadata.EntryPoint, base: type) -> Any:
    """Return the subclass of `base` that an entry point names; raises RecipeError when it cannot be imported."""
    where = f"{kind} {name!r} of the installed package {package_of(point)}"
    try:
        cls = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise RecipeError(f"{where} ({point.value}) cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise RecipeError(f"{where} ({point.value}) is not a subclass of {base.__name__}")
    if not cls.__module__.startswith("windtunnel."):  # a built-in class under another name stays built in
        cls.external = External(name, installed_digest(cls.__module__, package_of(point)), None)
    return cls


def package_of(point: metadata.EntryPoint) -> str:
    """Return the name and version of the distribution that declares an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "of unknown name"


def only_class(module: ModuleType, where: str, base: type) -> Any:
    """Return the only public subclass of `base` that a module defines. Raises RecipeError for none or several."""
    classes = _classes(module, base)
    if len(classes) != 1:
        names = f": {', '.join(sorted(classes))}; name one as FILE.py:CLASS" if classes else ""
        raise RecipeError(
            f"{where}: the file must define one public plug-in class, it defines {len(classes) or 'none'}{names}"
        )
    return next(iter(classes.values()))


@cache
def module_digest(name: str) -> str:
    """Return the blake3 digest (32 hexadecimal digits) of an imported module's file."""
    module = sys.modules.get(name) or importlib.import_module(name)
    if executed := getattr(module, "__windtunnel_digest__", None):
        return executed
    file = getattr(module, "__file__", None)
    return blake3(Path(file).read_bytes()).hexdigest()[:32] if file else ""


def _module(kind: str, reference: str) -> tuple[ModuleType, str]:
    """Return the module of a reference, and its path relative to the recipe's directory."""
    where = f"{kind} {reference!r}"
    path, root = _resolved(where, reference.partition(".py:")[0].removesuffix(".py") + ".py"), directory().resolve()
    code = code_of(path, root, where)
    place = _place.get()
    if place and place.pins.get(code.path, code.digest) != code.digest:
        what = path if len(code.files) == 1 else f"{path} or a file that it imports"
        raise InputError(f"{where}: {what} changed during the run: run again to use the new file")
    return _executed(code, path, where), code.path


def _resolved(where: str, given: str) -> Path:
    root = directory().resolve()
    path = (root / given).resolve()
    if Path(given).is_absolute() or not path.is_relative_to(root):
        whose = "the recipe's directory" if _place.get() else "the working directory"
        raise RecipeError(f"{where}: the file must lie in {whose} ({root}) or below it")
    if not path.is_file():
        siblings = [str(file.relative_to(root)) for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise RecipeError(f"{where}: there is no file {given} in {root}: {nearest(given.removeprefix('./'), siblings)}")
    return path


def _executed(code: Code, path: Path, where: str) -> ModuleType:
    """Return the module of a plug-in file; raises RecipeError with the line at which executing it failed."""
    try:
        return execute(code)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too
        raise RecipeError(
            f"{where} cannot be loaded: {_line_of(error, path)}{type(error).__name__}: {_short(error)}"
        ) from error


def _short(error: BaseException) -> str:
    return str(error).partition("\n\nFor further information visit")[0]  # pydantic's link to its errors


def _line_of(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        other = f"{Path(error.filename).name}, " if error.filename and error.filename != str(path) else ""
        return f"{other}line {error.lineno}: " if error.lineno else ""
    line, trace = None, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}: " if line else ""


def _classes(module: ModuleType, base: type) -> dict[str, type]:
    return {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not key.startswith("_")
    }


def _named_class(module: ModuleType, name: str, where: str, base: type) -> Any:
    classes = _classes(module, base)
    if name not in classes:
        raise RecipeError(f"{where}: the file defines no plug-in class {name!r}: {nearest(name, classes)}")
    return classes[name]
