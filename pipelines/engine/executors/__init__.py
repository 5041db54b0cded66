"""Runs a stage of tasks, one file per executor: this machine, a Ray cluster or Slurm."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from windtunnel.pipelines.engine.tasks.memory_limit import RUN_BYTES, check_memory_limit
from windtunnel.pipelines.engine.tasks.task import Task
from windtunnel.schemas.errors import RecipeError, nearest

OPTIONS_VARIABLE = "WINDTUNNEL_EXECUTOR_OPTIONS"  # `partition=cpu time=2:00:00`, for every run of a shell


@dataclass(frozen=True)
class Where:
    """Where tasks run. `workers` is how many run at once; `options` are the fields of the executor's `Options`.

    Options that are not given here come from the environment variable `WINDTUNNEL_EXECUTOR_OPTIONS`. Raises RecipeError
    when the executor or an option is wrong.
    """

    executor: str = "local"
    workers: int = 2
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.executor not in kinds():
            raise RecipeError(f"no executor is called {self.executor!r}: {nearest(self.executor, kinds())}")
        self.checked()

    def checked(self) -> Any:
        """Return the executor's `Options`."""
        options = _kind(self.executor).Options
        known = set(options.model_fields)
        shell = {key: value for key, value in _of_the_shell().items() if key in known}
        try:
            return options.model_validate({**shell, **self.options})
        except ValidationError as wrong:
            first = wrong.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            hint = nearest(name, known) if first["type"] == "extra_forbidden" else first["msg"]
            raise RecipeError(f"--executor {self.executor}, option {name!r}: {hint}") from None


def kinds() -> list[str]:
    """Return the names of the executors."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def parse_options(pairs: Iterable[str]) -> dict[str, Any]:
    """Return `key=value` words as options; `sbatch_args.account=nlp` fills a mapping."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise RecipeError(f"an executor's option is written key=value, and {pair!r} is not")
        outer, _, inner = key.partition(".")
        if not inner:
            options[outer] = value
        elif isinstance(mapping := options.setdefault(outer, {}), dict):
            mapping[inner] = value
        else:
            raise RecipeError(f"the executor's option {outer!r} is given both as a word and as a mapping")
    return options


def _of_the_shell() -> dict[str, Any]:
    """Return the options of the environment; they may be those of another executor than the one at work."""
    options = parse_options(os.environ.get(OPTIONS_VARIABLE, "").split())
    known = {name for kind in kinds() for name in _kind(kind).Options.model_fields}
    for wrong in set(options) - known:
        raise RecipeError(f"{OPTIONS_VARIABLE}: no executor has an option {wrong!r}: {nearest(wrong, known)}")
    return options


def execute(tasks: list[Task], where: Where, logs: Path) -> None:
    """Run a stage of tasks; each leaves a counts file or an error file. Logs of the tasks go below `logs`.

    Raises WindtunnelError under a memory limit that is too low for any stage.
    """
    check_memory_limit(RUN_BYTES)
    shutil.rmtree(logs, ignore_errors=True)  # those of an earlier attempt
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("LOGURU_LEVEL", "ERROR")  # what datatrove's parts log from their import on
    _kind(where.executor).run(tasks, where.workers, where.checked(), logs)


def leave(where: Where) -> None:
    """End what the executor started for this run; a cluster that was there before is left as it was."""
    end = getattr(_kind(where.executor), "leave", None)
    if end:
        end()


def _kind(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")
