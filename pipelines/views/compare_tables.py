"""Effects and comparisons as tables for a terminal; each says what it was measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from windtunnel.pipelines.report.wording import (
    APART,
    EffectCells,
    digits_for,
    further,
    headline,
    incomparable_sentence,
    items_of,
    parts_sentence,
    percent,
    plain,
    sentence,
    signed,
    split_by_source,
    target,
)
from windtunnel.pipelines.views.plain_table import STRONG, SplitTable, plain_table
from windtunnel.schemas.encoded_rows import refused_words
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.results import Comparison, Effect

STYLE = {"better": "bold blue", "worse": "bold dark_orange", "equivalent": "bold", "undecided": "dim"}


def effects_table(effects: Sequence[Effect], digits: int = 4, apart: Sequence[str] = (), called: str = "mix") -> Table:
    """Return one row per mix: effect, interval, p after Holm, seeds (`3 of 12`: 12 would probably do), verdict.

    The mixes of `apart` measure something else, and have no effect; `called` is what stands above the names.
    """
    interval = f"{percent(effects[0].interval)} interval" if effects else "interval"
    table = plain_table((called,), **STRONG)
    for name in ("value", "effect", interval, "p (Holm)", "seeds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", min_width=15)  # "not distinguishable" may take two lines, never lose a letter
    for effect in effects:
        c = EffectCells.of(effect, digits)
        label = Text(c.label, style=STYLE[c.verdict])
        table.add_row(_text(c.mix), c.value, c.effect, c.interval, c.p, c.seeds, label)
    for mix in apart:
        table.add_row(_text(mix), *["\u2013"] * 5, Text(APART, style=STYLE["undecided"]))
    return table


def matrix_table(
    matrix: pl.DataFrame, comparison: Comparison, digits: int = 4, names: tuple[str, str] = ("source", "documents")
) -> SplitTable:
    """Return source x mix: the value, and below it the difference to the baseline with half the interval's width."""
    cells: dict[tuple[str, str], dict[str, Any]] = {(r["mix"], r["source"]): r for r in matrix.iter_rows(named=True)}

    def made(mixes: Sequence[str]) -> Table:
        table = plain_table(names, **STRONG)
        for mix in mixes:
            table.add_column(_text(mix), justify="right", no_wrap=True)
        for name, items in items_of(comparison).items():
            row: list[RenderableType] = [_text(name), items]
            row += [_cell(cells.get((mix, name)), mix == comparison.baseline, digits) for mix in mixes]
            table.add_row(*row)
        return table

    return SplitTable(list(comparison.values), made)


def _cell(cell: dict[str, Any] | None, baseline: bool, digits: int) -> Text:
    if cell is None:
        return Text("\u2013")
    text = Text(plain(cell["value"], digits))
    if not baseline:
        half = "" if cell["low"] is None else f" \u00b1{(cell['high'] - cell['low']) / 2:.{digits}f}"
        text.append(f"\n{signed(cell['effect'], digits)}{half}", style="" if cell["named"] else "dim")
    return text


def comparison_view(comparison: Comparison, matrix: pl.DataFrame) -> Group:
    """Return the answer: the sentence, what it was measured on, the effects, and every source by itself."""
    digits, told = digits_for(comparison), headline(comparison)
    better = "lower is better" if comparison.direction == "lower" else "higher is better"
    lines: list[RenderableType] = [
        Text(told, style="bold"),
        Text(f"measured on: {one_line(target(comparison), 1000)}"),
        Text(
            f"effect = {comparison.called} minus {comparison.baseline}, in {comparison.unit}; {better}"
            + _margin(comparison)
        ),
        Text(""),
        effects_table(comparison.effects, digits, list(comparison.incomparable), comparison.called),
    ]
    sentences = [sentence(e, comparison.unit, digits) for e in comparison.effects]
    sentences += [incomparable_sentence(comparison, mix) for mix in comparison.incomparable]
    notes = [Text(words, style="dim") for words in sentences if words != told]
    rows = list(matrix.iter_rows(named=True))
    for effect in comparison.effects:
        if effect.judged and (words := split_by_source(effect.mix, comparison.direction, rows)):
            notes.append(_text(effect.mix).append(f": {words}"))
    notes += [_text_of(parts_sentence(parts, comparison.unit, digits)) for parts in comparison.parts.values()]
    for mix, parts in comparison.encoded.items():
        if words := refused_words([part for part in parts if not part.role.startswith("held_out")]):
            notes.append(_text(mix).append(f" did not learn from {one_line(words, 600)}"))
    if notes:
        lines += [Text(""), *notes]
    lines += [
        Text(""),
        Text("by source (\u00b1 is the interval of the single cell; grey: not sure after correction for all cells)"),
        matrix_table(matrix, comparison, digits),
    ]
    return Group(*lines)


def further_line(what: str, comparison: Comparison) -> Text:
    """Return a comparison beside the main one in a line: every mix's value, effect, interval and verdict."""
    digits = min(digits_for(comparison), 4)
    words = further(what, comparison)
    measured = f"{comparison.on.documents:,} {words.items}, " if comparison.on.documents else ""
    line = Text().append(f"{words.name} ({measured}{words.value}): ", style="bold")
    line.append_text(_text(comparison.baseline).append(f" {plain(comparison.values.get(comparison.baseline), digits)}"))
    for e in comparison.effects:
        c = EffectCells.of(e, digits)
        line.append("; ").append_text(_text(c.mix))
        line.append(f" {c.value}, {c.effect} {c.interval} ").append(c.label, style=STYLE[c.verdict])
    return line


def _margin(comparison: Comparison) -> str:
    return f"; less than {comparison.margin:g} does not matter" if comparison.margin else ""


def _text_of(sentence: str) -> Text:
    return Text(one_line(sentence, 400))


def _text(name: str) -> Text:
    return Text(one_line(name, 60))
