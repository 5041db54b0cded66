"""The command that finds a learning rate; `windtunnel.pipelines.cli` adds it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from windtunnel.pipelines.views.console import terminal


def tune(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file or the name of a shipped one.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe.")
    ] = None,
    stage: Annotated[int, typer.Option(help="The stage of training whose rate is tuned, from 0.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes at once.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Train a recipe's baseline at several learning rates and say which scores lowest; its runs stay in the store."""
    from windtunnel.pipelines.tune import print_tuned
    from windtunnel.pipelines.tune import tune as tuned
    from windtunnel.pipelines.views.terminal import TerminalProgress

    progress = TerminalProgress(terminal(stderr=json_))
    found = tuned(recipe, set_ or [], stage, workers or os.cpu_count() or 1, progress)
    print_tuned(found, stage, json_, terminal())


COMMANDS: dict[str, Callable[..., Any]] = {"tune": tune}
