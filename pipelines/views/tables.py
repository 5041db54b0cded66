"""Effects, comparisons and judge calibrations on the terminal: a table, or JSON for scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from blake3 import blake3
from rich.console import Console
from rich.table import Table
from rich.text import Text

from windtunnel.pipelines.recipe.recipe import Compare
from windtunnel.pipelines.views.plain_table import STRONG, plain_table
from windtunnel.schemas.artifact import write_text
from windtunnel.schemas.printable import one_line

if TYPE_CHECKING:
    from windtunnel.generators.judging.calibration import Calibration

# What the parts of further comparisons are called, and what is counted in them.
PARTS = {
    "tasks": ("task", "items"),
    "probe": ("task", "items"),
    "labels": ("task", "items"),
    "answers": ("source", "questions"),
}
MOST = 12  # mixes of which the scores of every task are printed


def print_effects(scores: Path, settings: Compare, as_json: bool, console: Console) -> None:
    """Print the effects of a scores file (CSV or Parquet) as a table with sentences, or as the contract's JSON list."""
    from windtunnel.pipelines.report.wording import COMMAND, sentence, split_by_source
    from windtunnel.pipelines.views.compare_tables import effects_table
    from windtunnel.trainer.stats.effects import Judging, contract, effects_by_source, panel_effects
    from windtunnel.trainer.stats.paired import BITS_PER_BYTE, panel, read_scores

    judging: Judging = {
        "level": settings.interval,
        "looks": settings.looks,
        "spending": settings.spending,
        "after": settings.after,
    }
    table = panel(read_scores(scores), settings.baseline, BITS_PER_BYTE)
    effects = panel_effects(table, margin=settings.margin, **judging)
    if as_json:
        console.print(json.dumps(contract(effects), indent=1), soft_wrap=True)
        return
    console.print(effects_table(effects))
    matrix = effects_by_source(table, settings.margin, **judging).rows(named=True)
    for effect in effects:
        parts = "" if not effect.judged else split_by_source(effect.mix, effect.direction, matrix)
        words = f"{sentence(effect, BITS_PER_BYTE.unit, option=COMMAND)} {parts}".rstrip()
        console.print(words, markup=False, soft_wrap=True)


def print_comparison(artifact: Path, console: Console) -> None:
    """Print a finished comparison: the verdicts, what they were measured on, and every domain."""
    from windtunnel.pipelines.views.compare_tables import comparison_view
    from windtunnel.schemas.results import Comparison

    comparison = Comparison.read(artifact)
    console.print(comparison_view(comparison, pl.read_parquet(artifact / "loss_matrix.parquet")))


def print_further(what: str, artifact: Path, console: Console) -> None:
    """Print a finished comparison `compare:WHAT` in a line, that of several tasks or sources also one by one."""
    from windtunnel.pipelines.report.wording import digits_for, judged_by, not_asked
    from windtunnel.pipelines.views.compare_tables import further_line, matrix_table
    from windtunnel.schemas.results import Comparison

    comparison = Comparison.read(artifact)
    console.print(further_line(what, comparison), soft_wrap=True)
    kind = what.partition(":")[0]
    if kind in PARTS and (len(comparison.on.domains) > 1 or comparison.questions):
        if (mixes := len(comparison.values)) > MOST:
            console.print(f"the table by {PARTS[kind][0]} is in the report alone: it has {mixes} mixes", style="dim")
        else:
            matrix = pl.read_parquet(artifact / "loss_matrix.parquet")
            console.print(matrix_table(matrix, comparison, min(digits_for(comparison), 4), PARTS[kind]))
    if comparison.chance:
        by_source = ", ".join(f"{one_line(name, 40)} {value:.2f}" for name, value in comparison.chance.items())
        console.print(
            f"right by the most frequent answer alone: {by_source}", markup=False, soft_wrap=True, style="dim"
        )
    for words in (judged_by(comparison), *not_asked(comparison)):
        if not words:
            continue
        console.print(words, markup=False, soft_wrap=True, style="dim")


def print_trainings(artifact: Path, as_json: bool, console: Console) -> None:
    """Print the finished table of trainings side by side, with what compares and what does not, or its JSON."""
    from windtunnel.pipelines.report.trained import columns, lines, notes
    from windtunnel.schemas.side_by_side import Table as Trainings

    found = Trainings.read(artifact)
    if as_json:
        rows = [row.model_dump(mode="json") for row in found.rows]
        console.print(json.dumps(rows, indent=1), soft_wrap=True, markup=False)
        return
    titles, rows = columns(found), lines(found)
    cost = next(number for number, (name, _) in enumerate(titles) if name == "score")  # two tables fit a terminal
    for part in (slice(cost), slice(cost, None)):
        table = plain_table(("run",), **STRONG)
        for name, number in titles[part]:
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for line in rows:
            table.add_row(Text(line.run), *map(Text, line.cells[part]))
        console.print(table)
    for note in notes(found):
        console.print(note, markup=False, soft_wrap=True, style="dim")


def print_calibration(pairs: Path, spec: str, as_json: bool, console: Console, card: Path | None = None) -> None:
    """Compare a judge with the labels of a file and print its agreement; `card` is a Markdown file to write."""
    from windtunnel.generators.judging.calibration import examine_file

    found = examine_file(pairs, spec)
    figures = dict(found.figures)
    if card is not None:
        _write_card(card, pairs, found)
    if as_json:
        console.print(json.dumps(figures, indent=1), soft_wrap=True)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    subsets = figures.pop("subsets")
    for key, value in figures.items():
        table.add_row(key.replace("_", " "), _shown(value))
    for name, found in subsets.items():
        interval = f"[{found['low']:.3f}, {found['high']:.3f}]"
        table.add_row(
            Text(f"agreement on {one_line(name, 40)}"), Text(f"{found['agreement']:.3f} {interval}, n {found['n']}")
        )
    console.print(table)


def _write_card(card: Path, pairs: Path, found: Calibration) -> None:
    from windtunnel.data_cards.judge_card import JudgeCard, render

    content = JudgeCard(
        name=found.name,
        pairs=pairs.name,
        digest=blake3(pairs.read_bytes()).hexdigest(),
        figures=found.figures,
        findings=found.findings,
        left_out=found.failed,
        unreadable=found.unreadable,
        settings=found.settings,
    )
    write_text(card, render(content))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {_shown(v)}" for k, v in value.items())
    return "not known" if value is None else str(value)
