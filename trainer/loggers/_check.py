"""Checks a logger: its parameters hold, and it says which package it needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.finding import Finding, finding
from windtunnel.trainer.loggers._logger import Logger

NAME = r"[A-Za-z_][A-Za-z0-9_.]*"


def check(cls: type[Logger]) -> Iterator[Finding]:
    """Yield the outcome of every property, for each set of parameters."""
    yield finding("names the package that it needs", lambda: _named(cls))
    for params in cls.examples:
        what = f" with {dict(params)}" if params else ""
        yield finding(f"asks for the package where it is missing{what}", lambda p=params: _asks(cls(**p)))


def _named(cls: type[Logger]) -> str | None:
    package, install = getattr(cls, "package", ""), getattr(cls, "install", "")
    good = re.fullmatch(NAME, package) and install
    return None if good else f"`package` is {package!r} and `install` is {install!r}: what is imported, and pip's name"


def _asks(logger: Logger) -> str | None:
    try:
        logger.check_installed()
    except RecipeError as error:
        return None if "pip install" in str(error) else f"{error} does not say what to install"
    return None if find_spec(logger.package) is not None else f"{logger.package} is missing, and nothing is said"
