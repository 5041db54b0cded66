"""The command that evaluates a model without a recipe; `windtunnel.pipelines.cli` adds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from windtunnel.pipelines.views.console import terminal

LEVEL = 0.95


def evaluate(
    model: Annotated[str, typer.Argument(help="A model directory, or the name of a sample model.")],
    tasks: Annotated[
        list[str],
        typer.Option(
            metavar="FILE|SPEC",
            help="Questions: a JSONL file (question, choices, answer; question, answer; prompt, constraints; good, "
            "bad; text), a YAML file of lm-eval, a task's name, NAME:FILE as perplexity:texts/, or as recipes write "
            "it, '{exact: {file: FILE, max_tokens: 32}}'. May be repeated.",
        ),
    ],
    texts: Annotated[
        str | None, typer.Option(metavar="FILE", help="The texts that tasks such as `copying` are made from.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A new directory for items.parquet and scores.parquet.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Score a model on questions of your own or on tasks, with intervals over the items."""
    from windtunnel.pipelines.api.task_scoring import evaluate_tasks
    from windtunnel.pipelines.samples.models import MODELS, fetch
    from windtunnel.pipelines.views.item_tables import print_means
    from windtunnel.schemas.artifact import write_parquet
    from windtunnel.schemas.errors import InputError
    from windtunnel.trainer.stats.item_scores import means

    if out is not None and out.exists():
        raise InputError(f"{out} exists: name a new directory")
    directory = fetch(model) if model in MODELS and not Path(model).is_dir() else Path(model)
    found = evaluate_tasks(directory, [_spec(task) for task in tasks], texts, _device(device))
    if out is not None:
        out.mkdir(parents=True)
        write_parquet(out / "items.parquet", found.items)
        write_parquet(out / "scores.parquet", found.scores)
    print_means(means(found.scores, LEVEL), found.not_asked, LEVEL, json_, terminal())


def _spec(word: str) -> Any:
    """Return a task as recipes write it where there are brackets, else the word itself: a file or a name."""
    from windtunnel.pipelines.recipe.yaml_loader import load

    return load(word, repr(word)).value if word.lstrip().startswith("{") else word


def _device(word: str) -> Literal["auto", "cpu", "cuda"]:
    from windtunnel.schemas.errors import RecipeError

    if word == "auto" or word == "cpu" or word == "cuda":
        return word
    raise RecipeError(f"--device {word!r}: auto, cpu or cuda")


COMMANDS: dict[str, Callable[..., Any]] = {"evaluate": evaluate}
