"""The commands about the parts of recipes: list, check and new; `windtunnel.pipelines.cli` adds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from windtunnel.pipelines.views.console import terminal

Kind = Annotated[str, typer.Argument(metavar="KIND", help="rule, source, dedup, generator, judge, objective, ...")]
Reference = Annotated[
    str, typer.Argument(metavar="NAME", help="A built-in part, one of an installed package, or ./FILE.py:Class.")
]


def list_(
    kind: Annotated[str, typer.Argument(help="recipes, schema, or a kind: source, rule, dedup, ...")] = "kinds",
    name: Annotated[str | None, typer.Argument(help="Describe this part: its name, or ./FILE.py:Class.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """List what recipes can name, or describe one part; `list schema` prints the JSON Schema of a recipe."""
    from windtunnel.pipelines.parts import kind_named
    from windtunnel.pipelines.views.listing import print_list

    if name is None:
        print_list(kind, json_, terminal())
        return
    from windtunnel.pipelines.views.part_view import print_part

    print_part(kind_named(kind), name, json_, terminal())


def check(kind: Kind, name: Reference) -> None:
    """Run the examples that a part carries and print each with its outcome; exit code 1 if one fails."""
    from windtunnel.pipelines.parts import kind_named
    from windtunnel.pipelines.views.part_view import print_findings

    if not print_findings(kind_named(kind), name, terminal()):
        raise typer.Exit(1)


def new(
    kind: Kind,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the file: small letters, digits and _.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the two files go.")] = Path(),
) -> None:
    """Write a part that works as it stands, with comments, and a test of its examples, to be changed into your own."""
    from windtunnel.pipelines.parts import kind_named
    from windtunnel.pipelines.parts.skeleton import write_skeleton

    skeleton = write_skeleton(kind_named(kind), name, out)
    for path in skeleton.files:
        terminal().print(str(path))
    terminal().print(skeleton.usage)


COMMANDS: dict[str, Callable[..., Any]] = {"list": list_, "check": check, "new": new}
