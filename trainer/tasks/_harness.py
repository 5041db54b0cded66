"""Drives lm-eval: a task from its configuration, and its scores item by item. Its import needs the package lm_eval."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.task import ConfigurableTask  # pyright: ignore[reportMissingImports]
from lm_eval.evaluator import evaluate as run  # pyright: ignore[reportMissingImports]

from windtunnel.schemas.errors import InputError, WindtunnelError
from windtunnel.trainer.tasks._lm_eval_file import Function

FEWSHOT_SEED = 1234  # lm-eval's own


def task_of(config: dict[str, Any], file: Path) -> Any:
    """Return the task of a configuration; `file` is where its functions lie beside. Raises InputError."""

    def resolved(value: Any) -> Any:
        if isinstance(value, Function):
            return _function(str(value), file.parent)
        if isinstance(value, dict):
            return {key: resolved(part) for key, part in value.items()}
        return [resolved(part) for part in value] if isinstance(value, list) else value

    with quiet():
        try:
            task = ConfigurableTask(config=resolved(config))
        except WindtunnelError:
            raise
        except Exception as error:  # of many libraries, about a file of the user
            raise InputError(f"{file}: lm-eval cannot make the task: {type(error).__name__}: {error}") from error
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
    return task


def evaluate(model: Any, task: Any, limit: int | None) -> list[dict[str, Any]]:
    """Return lm-eval's logged samples of a task, one for each item and filter."""
    found = run(lm=model, task_dict={task.config.task: task}, limit=limit, bootstrap_iters=0, log_samples=True)
    return found["samples"][task.config.task]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep lm-eval's and datasets' messages and progress bars off the terminal."""
    logger, bars = logging.getLogger("lm_eval"), datasets.is_progress_bar_enabled()
    level = logger.level
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()


def _function(name: str, folder: Path) -> Any:
    """Return the function `module.name` of a file in a folder."""
    module, _, function = name.rpartition(".")
    file = folder / f"{module.replace('.', '/')}.py"
    spec = importlib.util.spec_from_file_location(f"lm_eval_task_{file.stem}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise InputError(f"{folder}: the function {name!r} is in no file {file.name}")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    if not hasattr(loaded, function):
        raise InputError(f"{file} has no function {function!r}")
    return getattr(loaded, function)
