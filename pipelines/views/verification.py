"""`windtunnel verify`: everything that a recipe has stored, held against what was written."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from windtunnel.generators.client.store import COMPLETIONS, CompletionStore
from windtunnel.pipelines.engine.integrity import damage, damaged_files
from windtunnel.pipelines.engine.mirrors.opening import open_store
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.store import partial
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.views.plain_table import plain_table
from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import WindtunnelError


@dataclass(frozen=True)
class Row:
    """What was looked at: a step, or the completions of models.

    `state`: `whole`, `damaged`, `foreign` (another artifact under this name), `unfinished` (whole as far as it goes) or
    `not there`.
    """

    step: str
    state: str
    files: int
    bytes: int
    damage: list[str]


def verify(recipe_name: str, sets: list[str], as_json: bool, console: Console) -> int:
    """Read all files of a recipe's store that its plan knows, and print what is damaged; return the exit code.

    Changes nothing.
    """
    plan = planned(recipe_name, sets)
    store = open_store(plan.recipe.store)
    with plugin_files.relative_to(plan.directory):
        rows = [_row(step, store) for step in plan.steps]
    if (store / COMPLETIONS).exists():
        rows.append(_completions(store / COMPLETIONS))
    damaged = [row for row in rows if row.state in ("damaged", "foreign")]
    if as_json:
        console.print(json.dumps([asdict(row) for row in rows], indent=1), soft_wrap=True)
        return 1 if damaged else 0
    table = plain_table(("step", "state", "files", "size"), left=2)
    for row in rows:
        table.add_row(row.step, row.state, f"{row.files:,}", f"{row.bytes / 1e6:,.1f} MB")
    console.print(table)
    for row in damaged:
        for item in row.damage:
            console.print(f"{row.step}: {item}")
    size, files = sum(row.bytes for row in rows) / 1e6, sum(row.files for row in rows)
    console.print(f"{files:,} files, {size:,.1f} MB read; {len(damaged) or 'no'} damaged {_steps(len(damaged))}")
    if any(row.state == "damaged" and row.step != COMPLETIONS for row in damaged):  # the others say what to do
        console.print(f"`windtunnel run {recipe_name} --verify` does them again")
    return 1 if damaged else 0


def _steps(number: int) -> str:
    return "step" if number == 1 else "steps"


def _row(step: Step, store: Path) -> Row:
    artifact, begun = step.artifact(store), partial(store, step)
    if artifact.done:
        sizes = [digest.bytes for digest in artifact.manifest.files.values()] if artifact.sound else []
        try:
            wrong = [str(item) for item in damage(artifact.path, step.key, content=True)]
        except WindtunnelError as error:
            return Row(step.name, "foreign", len(sizes), sum(sizes), [str(error)])
        state = "damaged" if wrong else "whole"
    elif begun.exists():
        wrong, sizes = [str(item) for item in damaged_files(begun)], _sizes(begun)
        state = "damaged" if wrong else "unfinished"
    else:
        return Row(step.name, "not there", 0, 0, [])
    return Row(step.name, state, len(sizes), sum(sizes), wrong)


def _completions(file: Path) -> Row:
    try:
        store = CompletionStore(file)
        number = store.damaged()
        store.close()
        wrong = [f"{number:,} of its rows are damaged; they are requested again when they are needed"] * bool(number)
    except WindtunnelError as error:
        wrong = [str(error)]
    return Row(file.name, "damaged" if wrong else "whole", 1, file.stat().st_size, wrong)


def _sizes(folder: Path) -> list[int]:
    return [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
