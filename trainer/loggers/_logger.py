"""The base class of loggers: services that show the numbers of a run while it trains.

A service gets a copy of what is in `log.parquet` and `validation.parquet` anyway. What it answers, and whether it
answers, changes no result; addresses and keys are read by its own package from the environment, never from a recipe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol

from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import Plugin, label


@dataclass(frozen=True)
class Logged:
    """The run that is logged."""

    name: str  # the same when an interrupted run goes on: the name of its directory
    store: Path  # directory beside the run's
    stage: int  # from 0
    step: int  # steps that were done before, if it goes on
    config: Mapping[str, Any] = field(default_factory=dict)


class Session(Protocol):
    """An open log of one stage. It may raise: the run goes on without it."""

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers by name, after so many steps."""
        ...

    def close(self) -> None:
        """End the log."""
        ...


class RunSession:
    """A session of a client whose run has `log(values, step=...)` and `finish()`."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()


class Logger(Plugin, ABC):
    """A service for the numbers of runs: one file in trainer/loggers, whose package is imported in `start`."""

    package: ClassVar[str]  # that is imported
    install: ClassVar[str]  # for pip
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)  # parameters that `windtunnel check logger NAME` tries

    def check_installed(self) -> None:
        """Raise RecipeError where the package is missing."""
        if not self.package or find_spec(self.package) is None:
            raise RecipeError(f"`log: {label(self)}` needs a package that is not installed: pip install {self.install}")

    @abstractmethod
    def start(self, run: Logged) -> Session:
        """Open the log of a stage; an interrupted one goes on."""
