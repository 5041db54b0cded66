"""Parts of recipes outside the package: their checks, descriptions and skeletons.

`check` is what `windtunnel check` runs and what the test beside a part calls.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from windtunnel.schemas import plugin, plugin_files
from windtunnel.schemas.finding import Finding
from windtunnel.schemas.plugin import Plugin


def check(kind: str, reference: str, directory: Path | None = None) -> list[str]:
    """Return what is wrong with the examples of a part; nothing is, where the list is empty.

    `reference` is the name of a built-in part or of an entry point, or `./FILE.py:Class` relative to `directory` (the
    working directory by default). An example that cannot be run here is wrong too. Raises RecipeError for a part that
    cannot be found or loaded.
    """
    with plugin_files.relative_to(directory or Path.cwd()):
        problems = [(finding.example, finding.problem or finding.skipped) for finding in findings(kind, reference)]
    return [f"{example}: {wrong}" for example, wrong in problems if wrong]


def findings(kind: str, reference: str) -> Iterator[Finding]:
    """Yield the outcome of every example of a part; see `check`."""
    cls = part_class(kind, reference)
    checker = importlib.import_module(f"windtunnel.{plugin.KINDS[kind].package}._check")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries; an example shows its outcome and nothing else
        yield from checker.check(cls)


def part_class(kind: str, reference: str) -> type[Plugin]:
    """Return the class of a part by its name; raises RecipeError with the nearest right kind or name."""
    return plugin.find(plugin.base(kind), reference)


def kind_named(word: str) -> str:
    """Return the kind of a word in singular or plural; another word is returned as it is."""
    return word.removesuffix("s") if word.removesuffix("s") in plugin.KINDS else word
