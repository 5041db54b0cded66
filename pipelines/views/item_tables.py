"""Scores of single items on the terminal: effects by task and metric, and the means of one model."""

from __future__ import annotations

import json
from collections.abc import Sequence

import polars as pl
from rich.console import Console

from windtunnel.pipelines.recipe.recipe import Compare
from windtunnel.pipelines.report.wording import EffectCells, percent
from windtunnel.pipelines.views.plain_table import plain_table
from windtunnel.schemas.printable import one_line
from windtunnel.trainer.stats.item_scores import Mean, direction_of


def print_item_effects(scores: pl.DataFrame, settings: Compare, as_json: bool, console: Console) -> None:
    """Print the effect of every mix on every metric of every task as a row of a table, or as the contract's JSON list.

    The margin is in units of the metrics; p values are corrected over all rows.
    """
    from windtunnel.trainer.stats.effects import contract
    from windtunnel.trainer.stats.item_scores import item_effects

    effects = item_effects(
        scores,
        settings.baseline,
        margin=settings.margin or None,
        level=settings.interval,
        looks=settings.looks,
        spending=settings.spending,
        after=settings.after,
    )
    if as_json:
        console.print(json.dumps(contract(effects), indent=1), soft_wrap=True)
        return
    interval = f"{percent(effects[0].interval)} interval" if effects else "interval"
    table = plain_table(("task/metric", "mix", "effect", interval, "p (Holm)", "seeds", "verdict"), left=2)
    for column in table.columns[2:]:
        column.no_wrap = column.header != "verdict"
    table.columns[-1].min_width = 15  # "not distinguishable" may take two lines, never lose a letter
    for effect in effects:
        c = EffectCells.of(effect, 4)
        arrow = "\u2193" if effect.direction == "lower" else "\u2191"
        name = f"{arrow} {one_line(effect.metric, 60)}"
        table.add_row(name, one_line(effect.mix, 40), c.effect, c.interval, c.p, c.seeds, c.label)
    console.print(
        f"effect = mix minus {one_line(settings.baseline, 40)}; \u2191 higher is better, \u2193 lower is better"
    )
    console.print(table)
    for effect in effects:
        if effect.note:
            console.print(f"{one_line(effect.metric, 60)}, {one_line(effect.mix, 40)}: {effect.note}", soft_wrap=True)


def print_means(found: Sequence[Mean], dropped: dict[str, int], level: float, as_json: bool, console: Console) -> None:
    """Print the means of a model's scores with their intervals, and the questions that were not asked."""
    if as_json:
        rows = [mean._asdict() | {"direction": direction_of(mean.metric)} for mean in found]
        console.print(json.dumps({"level": level, "means": rows, "not_asked": dropped}, indent=1), soft_wrap=True)
        return
    chances = any(mean.chance is not None for mean in found)
    head = ("task", "metric", "items", "value", f"{level:.0%} interval", *(["chance"] if chances else []))
    table = plain_table(head, left=2)
    for mean in found:
        alike = "one item shows" if mean.items < 2 else "these items show"
        span = f"{alike} no spread" if mean.low is None else f"[{mean.low:.4f}, {mean.high:.4f}]"
        items = f"{mean.items:,}" + (f" of {mean.groups:,} origins" if mean.groups < mean.items else "")
        cells = [one_line(mean.task, 60), one_line(mean.metric, 40), items, f"{mean.value:.4f}", span]
        if chances:
            cells.append("" if mean.chance is None else f"{mean.chance:.4f}")
        table.add_row(*cells)
    console.print(table)
    for reason, number in dropped.items():
        console.print(f"not asked: {one_line(reason, 80)} {number:,}")
