"""The commands for what leaves a store: export to other formats, and push; `windtunnel.pipelines.cli` adds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from windtunnel.pipelines.views.console import terminal
from windtunnel.schemas.printable import escaped

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped recipe.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A trained model: MIX, or train:MIX:SEED.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe.")]
Seed = Annotated[int | None, typer.Option(help="The recipe's first by default.")]


def export(
    recipe: Recipe,
    name: Name,
    to: Annotated[str, typer.Option(help="The format: gguf (llama.cpp and what builds on it).")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A new file; NAME-seedSEED.gguf by default.")] = None,
    seed: Seed = None,
    tokenizer: Annotated[str, typer.Option(help="own; or ids, for programs that bring token ids.")] = "own",
    set_: Sets = None,
) -> None:
    """Write a trained model in another program's format."""
    from windtunnel.pipelines.hub.export import export_model

    terminal().print(escaped(export_model(recipe, set_ or [], name, seed, to, out, tokenizer)))


def push(
    recipe: Recipe,
    name: Name,
    repo: Annotated[str, typer.Argument(metavar="REPO", help="USER/NAME on the Hugging Face Hub.")],
    seed: Seed = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; private by default.")] = False,
    branch: Annotated[str | None, typer.Option(help="A branch, made where there is none: seed-1, say.")] = None,
    set_: Sets = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Upload a trained model and its card to the Hugging Face Hub; unchanged files are not sent again."""
    from windtunnel.pipelines.hub.push import push_model

    done = push_model(recipe, set_ or [], name, repo, seed, public, branch)
    if json_:
        terminal().print(json.dumps(asdict(done)), soft_wrap=True)
    else:
        what = f"{done.files} files" if done.changed else "nothing changed"
        terminal().print(f"{escaped(done.step)}: {what}, {escaped(done.url)}", soft_wrap=True)


COMMANDS: dict[str, Callable[..., Any]] = {"export": export, "push": push}
