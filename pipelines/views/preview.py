"""Shows a plan before it runs: steps, their state, sizes, and the expected cost."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from windtunnel.pipelines.engine.mirrors.opening import open_store
from windtunnel.pipelines.engine.step import Step
from windtunnel.pipelines.plan.builder import placed_errors, planned
from windtunnel.pipelines.plan.notes import missing_device, rescaled
from windtunnel.pipelines.plan.template_check import template_notes
from windtunnel.pipelines.readers.listing import summary
from windtunnel.pipelines.rows.read_rows import ReadRows
from windtunnel.pipelines.rows.reader import WATCHED
from windtunnel.pipelines.sources._read import Read
from windtunnel.pipelines.views.model_costs import Estimate, budget_line, estimates
from windtunnel.pipelines.views.plain_table import plain_table
from windtunnel.schemas import plugin_files
from windtunnel.schemas.plugin import base, label, make
from windtunnel.schemas.printable import escaped

# Worker-seconds on one core of about 3 GHz, measured with the quickstart, without the half minute in which every worker
# compiles its kernels once on a machine; a store's own history replaces them.
SECONDS_PER_MEGABYTE = {
    "read": 0.26, "measure": 0.05, "decide": 0.015, "edit": 0.05, "corpus": 0.045, "minhash_sign": 0.05,
    "held_out": 0.3, "train_split": 0.11, "tokenizer": 0.28, "tokens": 0.37,
}  # fmt: skip
NO_TEXT = {
    "mix", "train", "first_stages", "compare", "report", "tasks", "answers", "wins", "model", "generate", "train_rows",
    "calibrate", "floor", "exact_answers",
}  # fmt: skip
TRAINING = ("train", "first_stages")
FLOPS_PER_SECOND = 4.3e10  # what training of a model of 10^6 parameters reaches on such a core


@dataclass(frozen=True)
class Row:
    """One line of the preview; sizes and costs are None where nothing is known yet."""

    step: str
    state: str  # "cached", "started" or "to do"
    bytes: int | None  # on disk once it ran; before, the text that goes through it
    seconds: float | None
    source: str  # where the seconds come from: "measured" (it ran), "history" (its like ran here), "estimate"
    key: str  # its first 8 digits, in which the directory's name ends
    models: tuple[Estimate, ...] = ()  # what it will ask models for


def preview(recipe_name: str, sets: list[str], as_json: bool, console: Console) -> None:
    """Print the plan of a recipe; runs nothing and writes nothing into its store."""
    plan = planned(recipe_name, sets)
    store = open_store(plan.recipe.store)
    with plugin_files.relative_to(plan.directory):
        rows = [
            replace(row, models=tuple(estimates(plan, step, store))) if row.state != "cached" else row
            for row, step in zip(rows_of(plan.steps, store), plan.steps, strict=True)
        ]
        sources = {step.name: step.work.plugin() for step in plan.steps if isinstance(step.work, Read)}
        layouts = {step.name: _layout(step.work) for step in plan.steps if isinstance(step.work, ReadRows)}
        not_read = {name: said for name, source in sources.items() if (said := summary(source.left_out()))}
    if as_json:
        console.print(json.dumps([asdict(row) for row in rows], indent=1), soft_wrap=True)
        return
    table = plain_table(("step", "state", "size", "worker-seconds"), left=2)
    table.add_column("")
    for row in rows:
        size = "" if row.bytes is None else f"{row.bytes / 1e6:,.1f} MB"
        seconds = "" if row.seconds is None else f"{row.seconds:,.1f}"
        table.add_row(row.step, row.state, size, seconds, row.source)
    console.print(table)
    for line in _model_lines(rows, budget_line(plan)):
        console.print(line, soft_wrap=True)
    for name, left_out in not_read.items():
        console.print(f"{name} does not read: {left_out}", soft_wrap=True)
    for name, layout in layouts.items():
        console.print(f"{name} has {layout}", soft_wrap=True, markup=False)
    for note in [*rescaled(plan), *missing_device(plan)]:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    with placed_errors(recipe_name), plugin_files.relative_to(plan.directory):
        for note in template_notes(plan):
            console.print(f"warning: {note}", soft_wrap=True, markup=False)
    todo = [row for row in rows if row.state != "cached"]
    known = sum(row.seconds or 0 for row in todo)
    unknown = sum(row.seconds is None for row in todo)
    tail = f", and {unknown} steps of unknown cost" if unknown else ""
    console.print(f"{len(rows)} steps, {len(rows) - len(todo)} cached; about {known:,.0f} worker-seconds to do{tail}")


def _layout(work: ReadRows) -> str:
    """Return in words what layout was recognised, and what its rows are."""
    if work.layout is None:
        return "no record in its first files that would tell a layout"
    layout = work.layout_of()
    assert layout is not None
    columns = layout.model_dump(exclude_defaults=True)
    given = ", ".join(f"{key}: {escaped(str(value))}" for key, value in columns.items())
    _, unread = work.first(WATCHED)
    beside = f"; not read: {unread}" if unread else ""
    return f"{work.gives} in the layout {label(layout)}{f' ({given})' if given else ''}{beside}"


def _model_lines(rows: list[Row], budget: str) -> list[str]:
    """Return a line per step and model that is still to be asked, then their sum with what is left of the budget."""
    lines, dollars = [], 0.0
    for row in rows:
        for each in row.models:
            dollars += each.dollars
            tokens = f"{each.prompt_tokens:,.0f} + {each.completion_tokens:,.0f} tokens"
            lines.append(
                f"{row.step} asks {each.model} about {each.requests:,.0f} times: {tokens}, ${each.dollars:,.2f} "
                f"({each.basis})"
            )
    if lines or budget:
        lines.append(f"models: about ${dollars:,.2f} to do" + (f"; {budget}" if budget else ""))
    return lines


def rows_of(steps: list[Step], store: Path) -> list[Row]:
    """Return one row a step, in plan order: what finished steps took, and what the others should take by that."""
    texts = _text_sizes(steps, store)
    history = _history(steps, store, texts)
    rows = []
    for step in steps:
        artifact = step.artifact(store)
        if artifact.sound:
            manifest = artifact.manifest
            rows.append(Row(step.name, "cached", manifest.bytes, manifest.seconds, "measured", step.key[:8]))
            continue
        state = "damaged" if artifact.done else "started" if (store / f"{step.directory}.partial").exists() else "to do"
        size = None if step.kind in NO_TEXT else texts[step.name]
        rows.append(Row(step.name, state, size, *_cost(step, size, history), step.key[:8]))
    return rows


def _text_sizes(steps: list[Step], store: Path) -> dict[str, int | None]:
    """Return bytes of text by step: counted where it ran, else those of the source, else the most it reads.

    A union reads its corpora one after the other: their sizes add up.
    """
    sizes: dict[str, int | None] = {}
    for step in steps:
        artifact = step.artifact(store)
        counted = artifact.manifest.counts.get("bytes") if artifact.sound and step.kind not in NO_TEXT else None
        read = [size for source in step.inputs.values() if (size := sizes.get(source.name)) is not None]
        of_all = sum if step.kind == "union" else max
        sizes[step.name] = counted or _source_bytes(step.work) or (of_all(read) if read else None)
    return sizes


def _source_bytes(work: Any) -> int | None:
    """Return the bytes that a read step has before it: sizes of files, and what sample sets are known to hold."""
    parts = [part for part in getattr(work, "parts", ()) if isinstance(part, dict)]
    # a large file is several parts, each with the size of the whole file
    distinct = {part.get("path", number): part for number, part in enumerate(parts)}.values()
    known = [size for part in distinct if (size := _part_bytes(part))]
    return sum(known) if known else None


def _part_bytes(part: dict[str, Any]) -> int | None:
    if "set" in part:
        from windtunnel.pipelines.samples.sample_set import sample_set

        return int(sample_set(part["set"]).text_megabytes * 1e6 / part["of"])
    size = part.get("bytes", part.get("size"))
    return size if isinstance(size, int) else None


def _cost(step: Step, size: int | None, history: dict[str, float]) -> tuple[float | None, str]:
    if step.kind in TRAINING:
        flops = _training_flops(step)
        if flops is None:
            return None, ""
        past = history.get("train per flop")
        return (flops * past, "history") if past else (flops / FLOPS_PER_SECOND, "estimate")
    if step.kind == "generate":
        past, rows = history.get("generate per row"), _rows_wanted(step)
        return (past * rows, "history") if past and rows else (None, "")
    if size is None:
        return None, ""
    if (past := history.get(step.kind)) is not None:
        return past * size / 1e6, "history"
    rate = SECONDS_PER_MEGABYTE.get(step.kind)
    return (None, "") if rate is None else (rate * size / 1e6, "estimate")


def _rows_wanted(step: Step) -> int | None:
    """Return how many rows a generator is asked for."""
    work: Any = step.work
    return getattr(make(base("generator"), work.kind), "rows", None)


def _training_flops(step: Step) -> float | None:
    """Return the FLOPs of pretraining a new model of known sizes: 6 a parameter and token, and attention."""
    work: Any = step.work
    model: Any = make(base("model"), work.model)
    budget = getattr(step.inputs["mix"].work, "token_budget", None) if "mix" in step.inputs else None
    vocabulary = getattr(step.inputs["tokenizer"].work, "vocabulary", None) if "tokenizer" in step.inputs else None
    if budget is None or vocabulary is None:
        return None
    shape = model.shape(vocabulary) if hasattr(model, "shape") else model
    width, layers = getattr(shape, "width", None), getattr(shape, "layers", None)
    if width is None or layers is None:
        return None
    parameters = vocabulary * width + layers * 12 * width * width
    return budget * (6.0 * parameters + 6.0 * layers * width * model.context)  # causal attention


def _history(steps: list[Step], store: Path, texts: dict[str, int | None]) -> dict[str, float]:
    """Return worker-seconds per megabyte of text, and per training FLOP, of the plan's finished steps, by kind."""
    totals: dict[str, tuple[float, float]] = {}
    for step in steps:
        artifact = step.artifact(store)
        if not artifact.sound:
            continue
        manifest = artifact.manifest
        key, size = step.kind, (texts[step.name] or 0) / 1e6
        if step.kind in TRAINING:
            key, size = "train per flop", manifest.counts.get("flops", 0.0)
        if step.kind == "generate":
            key, size = "generate per row", float(_rows_wanted(step) or 0)
        seconds, known = totals.get(key, (0.0, 0.0))
        totals[key] = (seconds + manifest.seconds, known + size)
    return {key: seconds / size for key, (seconds, size) in totals.items() if size > 0}
