"""Prints what a part says of itself, and the outcome of its examples; a user's own words are printed safely."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from windtunnel.pipelines.parts import findings
from windtunnel.pipelines.parts.describe import describe
from windtunnel.pipelines.views.plain_table import plain_table
from windtunnel.schemas.printable import one_line, printable

_SHOWN = ("kind", "name", "from", "version", "digest", "primary", "about", "parameters", "bases")
_PARAGRAPH = 20_000  # characters of a docstring
_CELL = 300


def print_part(kind: str, name: str, as_json: bool, console: Console) -> None:
    """Print a part's docstring, parameters and the facts of its kind; or all of it as JSON."""
    about = describe(kind, name)
    if as_json:
        console.print(json.dumps(about, indent=1), soft_wrap=True)
        return
    console.print(one_line(f"{kind} {about['name']}, version {about['version']}, {about['from']}", _CELL))
    console.print(printable(about["about"], _PARAGRAPH))
    if about["primary"]:
        console.print(f"\n{_bare(about)}")
    if about["parameters"]:
        console.print("\nparameters")
        console.print(_parameters(about["parameters"]))
    for base, text in about["bases"].items():
        console.print(f"\nfrom {one_line(base)}: {printable(text, _PARAGRAPH)}")
    for fact, value in about.items():
        if fact not in _SHOWN:
            _print_fact(fact.replace("_", " "), value, console)


def _bare(about: dict[str, Any]) -> str:
    """Return how a value without the name of its field is read: a mapping is one of parameters, never a value."""
    name, part = one_line(about["primary"]), one_line(about["name"])
    kinds = {parameter["name"]: str(parameter.get("type", "")) for parameter in about["parameters"]}
    if kinds.get(about["primary"], "").startswith(("dict", "mapping", "object")):
        return f"a value stands under its name: `{{{part}: {{{name}: ...}}}}`"
    return f"a bare value is `{name}`"


def print_findings(kind: str, reference: str, console: Console) -> bool:
    """Print every example of a part with its outcome; return whether none failed."""
    failed = skipped = held = 0
    for example, problem, reason in findings(kind, reference):
        word = "FAILED" if problem else "skipped" if reason else "ok"
        held, skipped, failed = held + (word == "ok"), skipped + (word == "skipped"), failed + (word == "FAILED")
        console.print(f"{word:<8}{one_line(example, _CELL)}")
        if problem or reason:
            console.print(f"        {printable(problem or reason, 4 * _CELL)}")
    console.print(f"{held} ok, {failed} failed, {skipped} skipped")
    return not failed


def _parameters(rows: list[dict[str, Any]]) -> Table:
    table = plain_table(columns := ("name", "type", "default", "bounds", "explanation", "from"), left=len(columns))
    for row in rows:
        default = "required" if row["required"] else json.dumps(row["default"], ensure_ascii=False)
        cells = (row["name"], row["type"], default, ", ".join(row["bounds"]), row["about"], row["inherited_from"])
        table.add_row(*(one_line(cell, _CELL) for cell in cells))
    return table


def _print_fact(name: str, value: Any, console: Console) -> None:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        table = plain_table(list(value[0]), left=len(value[0]))
        for row in value:
            table.add_row(*(_text(cell) for cell in row.values()))
        console.print(f"\n{name}")
        console.print(table)
    elif value not in ([], {}, ""):
        console.print(f"\n{name}: {_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{one_line(str(key))}: {_text(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_text(inner) for inner in value)
    shown = {None: "", True: "yes", False: "no"}.get(value, value) if isinstance(value, bool | None) else value
    return one_line(str(shown), _CELL)
