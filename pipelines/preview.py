"""Shows a plan before it runs: steps, what is cached, sizes, and the cost to expect."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.plan import plan
from pipelines.recipes_shipped import load
from pipelines.step import Step

# Worker-seconds on one core of about 3 GHz, measured with the quickstart; a store's own history replaces them.
SECONDS_PER_MEGABYTE = {
    "read": 0.10, "measure": 0.05, "decide": 0.001, "edit": 0.05, "corpus": 0.05, "held_out": 0.02,
    "train_side": 0.05, "tokenizer": 0.5, "tokens": 0.3,
}  # fmt: skip
FLOPS_PER_SECOND = 2.5e10  # what training of a model of 10^6 parameters reaches on such a core


@dataclass(frozen=True)
class Row:
    """One line of the preview; sizes and costs are None where nothing is known yet."""

    step: str
    state: str  # "cached", "started" or "to do"
    bytes: int | None
    seconds: float | None
    source: str  # where the seconds come from: "measured" (it ran), "history" (its like ran here), "estimate"


def preview(recipe_name: str, sets: list[str], as_json: bool, console: Console) -> None:
    """Print the plan of a recipe; runs nothing and writes nothing."""
    recipe = load(recipe_name, sets)
    made = plan(recipe)
    store = Path(recipe.store)
    rows = rows_of(made.steps, store)
    if as_json:
        console.print(json.dumps([asdict(row) for row in rows], indent=1), soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False)
    for column, justify in (
        ("step", "left"),
        ("state", "left"),
        ("size", "right"),
        ("worker-seconds", "right"),
        ("", "left"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        size = "" if row.bytes is None else f"{row.bytes / 1e6:,.1f} MB"
        seconds = "" if row.seconds is None else f"{row.seconds:,.1f}"
        table.add_row(row.step, row.state, size, seconds, row.source)
    console.print(table)
    todo = [row for row in rows if row.state != "cached"]
    known = sum(row.seconds or 0 for row in todo)
    unknown = sum(row.seconds is None for row in todo)
    tail = f", and {unknown} steps of unknown cost" if unknown else ""
    console.print(f"{len(rows)} steps, {len(rows) - len(todo)} cached; about {known:,.0f} worker-seconds to do{tail}")


def rows_of(steps: list[Step], store: Path) -> list[Row]:
    """Return one row a step, in plan order; sizes of unfinished steps follow from the sizes of what they read."""
    history = _history(store)
    sizes: dict[str, int | None] = {}
    rows = []
    for step in steps:
        artifact = step.artifact(store)
        if artifact.done:
            manifest = artifact.manifest
            sizes[step.name] = manifest.bytes
            rows.append(Row(step.name, "cached", manifest.bytes, manifest.seconds, "measured"))
            continue
        state = "started" if (store / f"{step.directory}.partial").exists() else "to do"
        read = [size for source in step.inputs.values() if (size := sizes.get(source.name)) is not None]
        size = _source_bytes(step.work) or (max(read) if read else None)
        sizes[step.name] = size
        rows.append(Row(step.name, state, size, *_cost(step, size, history)))
    return rows


def _source_bytes(work: Any) -> int | None:
    sizes = [part.get("bytes", part.get("size")) for part in getattr(work, "parts", ()) if isinstance(part, dict)]
    known = [size for size in sizes if isinstance(size, int)]
    return sum(known) if known else None


def _cost(step: Step, size: int | None, history: dict[str, float]) -> tuple[float | None, str]:
    if (flops := getattr(step.work, "expected_flops", None)) is not None:
        past = history.get(f"{step.kind} per flop")
        return (flops() * past, "history") if past else (flops() / FLOPS_PER_SECOND, "estimate")
    if size is None:
        return None, ""
    if (past := history.get(step.kind)) is not None:
        return past * size / 1e6, "history"
    rate = SECONDS_PER_MEGABYTE.get(step.kind)
    return (None, "") if rate is None else (rate * size / 1e6, "estimate")


def _history(store: Path) -> dict[str, float]:
    """Return worker-seconds per megabyte written (and per FLOP) of the finished steps of a store, by kind."""
    totals: dict[str, tuple[float, float, float]] = {}
    for file in sorted(store.glob("*/manifest.json")):
        manifest = json.loads(file.read_bytes())
        kind = manifest["step"].partition(":")[0]
        seconds, size, flops = totals.get(kind, (0.0, 0.0, 0.0))
        flops += manifest["counts"].get("flops", 0.0)
        totals[kind] = (seconds + manifest["seconds"], size + manifest["bytes"] / 1e6, flops)
    rates = {kind: seconds / size for kind, (seconds, size, _) in totals.items() if size > 0}
    rates |= {f"{kind} per flop": seconds / flops for kind, (seconds, _, flops) in totals.items() if flops > 0}
    return rates
