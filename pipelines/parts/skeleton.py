"""Writes the skeleton of a part: a file that works as it stands, and a test of its examples.

The skeletons are Python files in `skeletons/`, one a kind, whose class `NewPart` gets the part's name.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from pathlib import Path
from typing import NamedTuple

from windtunnel.schemas import plugin
from windtunnel.schemas.errors import RecipeError

FOLDER = Path(__file__).with_name("skeletons")
TEST = "_test"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class Skeleton(NamedTuple):
    """What was written, and how a recipe or a command names it."""

    files: tuple[Path, Path]
    usage: str


def write_skeleton(kind: str, name: str, out: Path) -> Skeleton:
    """Write `NAME.py` and `test_NAME.py` into a directory, which is made where there is none.

    Raises RecipeError for an unknown kind, a name that is none for a module or is taken, and files that exist.
    """
    plugin.base(kind)  # names the nearest kind
    _check_name(kind, name)
    files = out / f"{name}.py", out / f"test_{name}.py"
    for path in files:
        if path.exists() or path.is_symlink():
            raise RecipeError(f"{path} exists already: choose another name or another --out")
    texts = [_filled(template, kind, name) for template in (kind, TEST)]
    out.mkdir(parents=True, exist_ok=True)
    for path, text in zip(files, texts, strict=True):
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    return Skeleton(files, "\n".join(_usage(texts[0])))


def class_name(name: str) -> str:
    """Return the class name of a part's name: `my_rule` is `MyRule`."""
    return "".join(word.capitalize() for word in name.split("_"))


def _check_name(kind: str, name: str) -> None:
    if keyword.iskeyword(name):
        raise RecipeError(f"{name!r} is a word of Python itself, and no name for a part: choose another name")
    if not _NAME.fullmatch(name) or not class_name(name).isidentifier():
        raise RecipeError(f"{name!r} is no name for a part: small letters, digits and _, a letter first, at most 63")
    if name in plugin.names(kind):
        raise RecipeError(f"there is a {kind} called {name!r} already: choose another name")
    if name.startswith("test_") or name in ("conftest", *sys.stdlib_module_names) or importlib.util.find_spec(name):
        raise RecipeError(f"{name!r} is the name of another Python module: choose another name")


def _filled(template: str, kind: str, name: str) -> str:
    text = (FOLDER / f"{template}.py").read_text(encoding="utf-8")
    return text.replace("NewPart", class_name(name)).replace("new_part", name).replace('"KIND"', f'"{kind}"')


def _usage(text: str) -> list[str]:
    """Return the lines of the module's docstring that say how the part is named."""
    docstring = text.split('"""')[1]
    return [line for line in docstring.splitlines() if re.match(r"(In|On) .*: `", line)]
