"""The code of a plug-in: its file, and the files that it imports from its own project.

A plug-in file may import files beside it relatively (`from .words import LIST`). All of them are read once, before
anything is executed; the bytes that are hashed are the bytes that are executed, also where an import runs later.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from blake3 import blake3

from windtunnel.schemas.errors import RecipeError

PACKAGE = "windtunnel_parts"  # prefix of the module names of loaded files
INSTALLED = ("site-packages", "dist-packages")


class Import(NamedTuple):
    """One import statement: `from ...module import names` with `level` dots, or `import module`."""

    level: int
    module: str
    names: tuple[str, ...]
    line: int


class Code(NamedTuple):
    """A plug-in file and all that it imports relatively; paths are relative to `root`."""

    root: Path
    path: str
    files: dict[str, bytes]

    @property
    def digest(self) -> str:
        """Blake3 of the file (32 hexadecimal digits), or of all paths and contents where there are several."""
        if len(self.files) == 1:
            return blake3(self.files[self.path]).hexdigest()[:32]
        return _digest_of([(path, content) for path, content in self.files.items()])

    @property
    def package(self) -> str:
        """Name of the package in which the code is executed; another one for each place and content."""
        place = blake3(f"{self.root}\x00{self.path}\x00{self.digest}".encode("utf-8", "surrogateescape"))
        return f"{PACKAGE}.p{place.hexdigest()[:16]}"


def code_of(path: Path, root: Path, where: str) -> Code:
    """Return the code of a plug-in file below `root`.

    Raises RecipeError for an import that leaves `root` or finds nothing, and for a file beside the plug-in that is
    imported by its bare name: Python would find it from some working directories only.
    """
    files: dict[str, bytes] = {}
    todo = [path]
    while todo:
        file = todo.pop()
        name = file.relative_to(root).as_posix()
        if name in files:
            continue
        files[name] = file.read_bytes()
        for entry in imports_of(files[name]):
            at = f"{where}: line {entry.line} of {file.name}"
            if entry.level:
                todo += _relative(entry, file, root, at)
            else:
                _refuse_bare(entry, file, root, at)
    return Code(root, path.relative_to(root).as_posix(), dict(sorted(files.items())))


@lru_cache(maxsize=256)
def imports_of(content: bytes) -> tuple[Import, ...]:
    """Return the import statements of a file, also those within functions; none of a file that is not Python."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()  # executing the file tells why
    entries: list[Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            entries += [Import(0, alias.name, (), node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            entries.append(Import(node.level, node.module or "", names, node.lineno))
    return tuple(entries)


def _relative(entry: Import, file: Path, root: Path, at: str) -> list[Path]:
    """Return the files that a relative import executes."""
    package = [file, *file.parents][entry.level] if entry.level <= len(file.parents) else root.parent
    if not package.is_relative_to(root):
        raise RecipeError(f"{at}: the import leaves the directory {root}")
    names = entry.module.split(".") if entry.module else []
    target = package.joinpath(*names)
    if names and _module_file(target) is None and not target.is_dir():
        raise RecipeError(f"{at}: there is no file {target.relative_to(root)}.py")
    # `from .a.b import c` executes the packages a and a.b, and a.b.c if it is a module
    modules = [package.joinpath(*names[:depth]) for depth in range(1, len(names) + 1)] or [package / "__init__"]
    modules += [target / name for name in entry.names] if target.is_dir() else []
    files = [found.resolve() for each in modules if (found := _module_file(each)) is not None]
    for each in files:
        if not each.is_relative_to(root):
            raise RecipeError(f"{at}: {each} lies outside the directory {root}")
    return files


def _module_file(target: Path) -> Path | None:
    """Return the file of a module: that of a package stands first, as in Python."""
    files = (target / "__init__.py", target.with_name(f"{target.name}.py"))
    return next((file for file in files if file.is_file()), None)


def _refuse_bare(entry: Import, file: Path, root: Path, at: str) -> None:
    """Raise RecipeError for a file of the recipe's directory that is imported as if it were installed."""
    top = entry.module.partition(".")[0]
    for folder in dict.fromkeys((file.parent, root)):
        beside = _module_file(folder / top)
        if beside is None or beside == file:
            continue
        origin = _origin(top)
        if origin is None or origin == beside.resolve():
            dots = "." * (1 + len(file.parent.relative_to(folder).parts))
            raise RecipeError(
                f"{at} imports {top!r}, which lies in {folder} and is not installed: write "
                f"`from {dots}{entry.module} import ...`, so that an edit of it counts as an edit of the plug-in"
            )


def _origin(name: str) -> Path | None:
    """Return the file of a top-level module without importing it; None if there is none."""
    if name in sys.builtin_module_names:
        return Path(name)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    return Path(spec.origin).resolve() if spec.origin else Path(name)


class _Finder(MetaPathFinder, Loader):
    """Imports the modules of loaded plug-ins from the bytes that were read."""

    def __init__(self) -> None:
        self.codes: dict[str, Code] = {}

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if fullname == PACKAGE:
            return ModuleSpec(fullname, self, is_package=True)
        if ".".join(fullname.split(".")[:2]) not in self.codes:
            return None
        code, name = self._split(fullname)
        inner = f"{name}/" if name else ""
        is_package = any(file.startswith(inner) for file in code.files)
        file = f"{inner}__init__.py" if is_package else f"{name}.py"
        if not is_package and file not in code.files:
            return None
        spec = ModuleSpec(fullname, self, origin=str(code.root / file), is_package=is_package)
        spec.has_location = file in code.files
        return spec

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None and spec.has_location and spec.origin:
            code, _ = self._split(spec.name)
            content = code.files[Path(spec.origin).relative_to(code.root).as_posix()]
            exec(compile(content, spec.origin, "exec"), module.__dict__)

    def _split(self, fullname: str) -> tuple[Code, str]:
        parts = fullname.split(".")
        return self.codes[".".join(parts[:2])], "/".join(parts[2:])


_finder = _Finder()


def execute(code: Code) -> ModuleType:
    """Return the module of a plug-in file, executed once per process, place and content; errors pass unchanged."""
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)
    _finder.codes[code.package] = code
    name = ".".join([code.package, *code.path.removesuffix(".py").split("/")])
    if module := sys.modules.get(name):
        return module
    try:
        module = importlib.import_module(name)
    except BaseException:
        for loaded in [each for each in sys.modules if each == code.package or each.startswith(f"{code.package}.")]:
            del sys.modules[loaded]
        raise
    module.__dict__["__windtunnel_digest__"] = code.digest
    return module


@cache
def installed_digest(module: str, version: str) -> str:
    """Return the digest (32 hexadecimal digits) of the code of a class from an installed package.

    It covers the name and version of its distribution, and the files of the same top-level package that the module
    imports; of a project that is not in site-packages (an editable installation), those of its other packages too. It
    is computed once per process, as the class is imported once.
    """
    return _digest_of([("", version.encode()), *_own_modules(module)])


def _own_modules(start: str) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name in seen or not _is_own(name.partition(".")[0], start.partition(".")[0]):
            continue
        seen.add(name)
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            continue
        if spec is None or not spec.origin or not spec.origin.endswith(".py"):
            continue
        content = Path(spec.origin).read_bytes()
        yield name, content
        package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
        if "." in name:
            todo.append(name.rpartition(".")[0])
        for entry in imports_of(content):
            base = package.split(".")[: len(package.split(".")) - entry.level + 1] if entry.level else []
            module = ".".join([*base, *([entry.module] if entry.module else [])])
            todo += [module, *(f"{module}.{each}" for each in entry.names)]


@cache
def _is_own(top: str, own: str) -> bool:
    """Return whether a top-level module belongs to the project of another one."""
    if top == own:
        return True
    place, origin = _origin(own), _origin(top)
    if place is None or origin is None or not place.is_file():
        return False
    root = place.parent.parent if place.name == "__init__.py" else place.parent
    return root.name not in INSTALLED and origin.is_relative_to(root) and not set(INSTALLED) & set(origin.parts)


def _digest_of(files: list[tuple[str, bytes]]) -> str:
    digest = blake3()
    for name, content in sorted(files):
        digest.update(f"{name}\x00{len(content)}\x00".encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()[:32]
