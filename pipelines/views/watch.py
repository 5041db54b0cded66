"""Follows the training runs of a recipe: reads the files of its store alone, and writes nothing."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.live import Live
from rich.table import Table

from windtunnel.pipelines.engine.mirrors.opening import open_store
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.engine.store import partial
from windtunnel.pipelines.engine.tasks.task import COUNTS, ERRORS
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.report import units
from windtunnel.pipelines.views.plain_table import plain_table
from windtunnel.pipelines.views.run_progress import sparkline, told
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.progress import RunProgress, read_progress, thinned
from windtunnel.schemas.results import RunResult

LOOK_SECONDS = 1.0
LINE_SECONDS = 10.0  # between two looks where there is no terminal
QUIET = 120.0  # seconds without a sign of life after which a run is said to be silent


class Seen(BaseModel):
    """A run at this moment; `running` may also have been interrupted, which `updated` tells."""

    model_config = ConfigDict(frozen=True)
    run: str
    state: Literal["waiting", "running", "failed", "finished"]
    progress: RunProgress = RunProgress()
    error: str = ""


def watch(recipe_name: str, sets: list[str], as_json: bool, console: Console) -> int:
    """Show the runs until all are finished or failed; return the exit code, 1 where one failed."""
    plan = planned(recipe_name, sets)
    steps = [*plan.of_kind("first_stages"), *plan.of_kind("train")]
    if not steps:
        raise RecipeError("there is nothing to watch: the recipe trains no model")
    store = open_store(plan.recipe.store)
    if as_json:
        seen = look(steps, store)
        console.print(json.dumps([_record(run) for run in seen], indent=1), soft_wrap=True)
        return 0
    with contextlib.suppress(KeyboardInterrupt):
        seen = _live(steps, store, console) if console.is_terminal else _lines(steps, store, console)
        return int(any(run.state == "failed" for run in seen))
    return 0


def look(steps: list[Step], store: Path) -> list[Seen]:
    """Return the state of every run."""
    return [_seen(step, store) for step in steps]


def _seen(step: Step, store: Path) -> Seen:
    artifact, folder = step.artifact(store), partial(store, step)
    ended = any((folder / COUNTS).glob("[0-9]*.json"))  # and waits for the other runs, with which it is committed
    if artifact.done or ended:
        where = folder if ended else artifact.path
        return Seen(run=str(step.name), state="finished", progress=_finished(where))
    state = read_progress(folder) or RunProgress()
    for file in sorted((folder / ERRORS).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            message = one_line(json.loads(file.read_bytes())["message"], 300)
            return Seen(run=str(step.name), state="failed", progress=state, error=message)
    return Seen(run=str(step.name), state="running" if state.updated else "waiting", progress=state)


def _finished(folder: Path) -> RunProgress:
    """Return the last numbers of a finished run, as far as its files are there."""
    state: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        result = RunResult.model_validate_json((folder / "result.json").read_bytes())
        state = {"step": result.steps, "steps": result.steps, "tokens": result.tokens, "loss": result.final_loss}
        state["tokens_per_second"] = result.tokens_per_second
        if result.held_out is not None:
            state |= {"bits_per_byte": result.held_out.bits_per_byte, "validated_at": result.steps}
    with contextlib.suppress(OSError, pl.exceptions.PolarsError):
        state["curve"] = thinned(pl.read_parquet(folder / "log.parquet", columns=["loss"])["loss"].to_list())
    return RunProgress(**state)


def _record(run: Seen) -> dict[str, Any]:
    numbers = run.progress.model_dump(exclude={"curve"})
    return {"run": run.run, "state": run.state, **numbers, **({"error": run.error} if run.error else {})}


def _over(seen: list[Seen]) -> bool:
    return all(run.state in ("finished", "failed") for run in seen)


def _live(steps: list[Step], store: Path, console: Console) -> list[Seen]:
    seen = look(steps, store)
    with Live(_table(seen), console=console, auto_refresh=False) as live:
        while not _over(seen):
            time.sleep(LOOK_SECONDS)
            seen = look(steps, store)
            live.update(_table(seen), refresh=True)
    return seen


def _lines(steps: list[Step], store: Path, console: Console) -> list[Seen]:
    said: dict[str, str] = {}
    while True:
        seen = look(steps, store)
        for run in seen:
            if said.get(run.run) != (line := f"{run.run}: {_words(run)}"):
                said[run.run] = line
                console.print(line, soft_wrap=True, markup=False)
        if _over(seen):
            return seen
        time.sleep(LINE_SECONDS)


def _words(run: Seen) -> str:
    state = run.progress
    if run.state == "failed":
        return f"failed: {run.error}"
    if run.state == "waiting":
        return "waiting"
    if run.state == "finished":
        loss = f", loss {state.loss:.3f}" if state.loss is not None else ""
        held_out = f", held-out {state.bits_per_byte:.3f} bits per byte" if state.bits_per_byte is not None else ""
        return f"finished after {state.step:,} steps{loss}{held_out}"
    silent = time.time() - state.updated
    return told(state) + (f"; no sign of life for {units.seconds(silent)}" if silent > QUIET else "")


def _table(seen: list[Seen]) -> Table:
    table = plain_table(("run", "loss", "state"), left=3)
    for run in seen:
        table.add_row(run.run, sparkline(run.progress.curve), _words(run))
    return table
