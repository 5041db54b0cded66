"""Comparisons beside the main one: preferences, checkable tasks, wins by a judge, and what each was measured on."""

from __future__ import annotations

from typing import Any, ClassVar

import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.results import Results, Section, read_json
from windtunnel.pipelines.report.wording import (
    EffectCells,
    digits_for,
    further,
    items_of,
    judged_by,
    not_asked,
    percent,
    plain,
    signed,
    span,
    width_note,
)
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record
from windtunnel.schemas.results import Comparison

BY_TASK = ("tasks", "probe", "labels")  # comparisons whose items are in tasks
# The steps of a run, and their files, that hold the likelihood of right answers by the parts of a comparison.
FIGURES = {"tasks": ("tasks", "tasks.json"), "answers": ("exact_answers", "sources.json")}
Bits = dict[tuple[str, str], float]  # bits per byte of the right answer by mix and task


class Part(Record):
    """One task or source: per mix the value, and the difference to the baseline."""

    name: str
    items: str
    cells: list[tuple[str, str]]
    bits: list[str]  # of the right answer per byte, by mix; empty when not known
    chance: str = ""  # the expected value of a guess


class Measure(Record):
    """One comparison."""

    name: str
    value: str
    items: str
    on: str
    baseline: str
    interval: str
    mixes: list[str]
    lines: list[EffectCells]  # the baseline first, without a verdict
    parts: list[Part]
    by: str  # what the parts are: task or source
    notes: list[str]


class Measures(Section):
    """A block per further comparison."""

    title: ClassVar[str] = "Further measures"
    order: ClassVar[int] = 22

    measures: list[Measure]

    @classmethod
    def of(cls, results: Results) -> Measures | None:
        measures = [
            _measure(what, comparison, matrix, *_figures(results, what.partition(":")[0]))
            for what, (comparison, matrix) in results.comparisons.items()
            if what
        ]
        return cls(measures=measures) if measures else None


def _measure(
    what: str, comparison: Comparison, matrix: pl.DataFrame | None, bits: Bits, chances: dict[str, float]
) -> Measure:
    digits, by_task = min(digits_for(comparison), 4), what.partition(":")[0] in BY_TASK
    wording = further(what, comparison)
    mixes = [comparison.baseline, *(e.mix for e in comparison.effects)]
    parts = [] if matrix is None else _parts(comparison, mixes, matrix, bits, digits)
    parts = [p.model_copy(update={"chance": plain(chances.get(p.name), digits)}) for p in parts] if chances else parts
    on = comparison.on
    return Measure(
        name=one_line(wording.name),
        value=wording.value,
        items=wording.items,
        on=f"{one_line(on.description, 300)}: {units.count(on.documents)} {wording.items}",
        baseline=comparison.baseline,
        interval=percent(comparison.effects[0].interval if comparison.effects else comparison.interval),
        mixes=mixes,
        lines=[_baseline(comparison, digits), *(EffectCells.of(e, digits) for e in comparison.effects)],
        parts=parts if by_task or len(parts) > 1 else [],
        by="task" if by_task else "source",
        notes=_notes(what, comparison, wording.items),
    )


def _baseline(comparison: Comparison, digits: int) -> EffectCells:
    empty = dict.fromkeys(EffectCells.model_fields, "")
    cells = {
        "mix": comparison.baseline,
        "value": plain(comparison.values.get(comparison.baseline), digits),
        "interval": "baseline",
        "seeds": str(len(comparison.seeds)),
    }
    return EffectCells(**(empty | cells))


def _notes(what: str, comparison: Comparison, items: str) -> list[str]:
    notes, values = [told] if (told := judged_by(comparison)) else [], set(comparison.values.values())
    if what == "win_rate":
        notes.append(f"{comparison.baseline} against itself is one half by definition, so its value has no spread.")
    if comparison.chance:
        notes.append("Chance is the share that the most frequent answer of a source would get right alone.")
    if values and all(0 <= value <= 1 for value in values):
        notes += [note for e in comparison.effects if not e.reference and (note := width_note(e, items))]
        if values in ({0.0}, {1.0}):
            notes.append(f"Every {comparison.called} is at the end of the scale: this measure cannot tell them apart.")
    return [*notes, *not_asked(comparison)]


def _parts(comparison: Comparison, mixes: list[str], matrix: pl.DataFrame, bits: Bits, digits: int) -> list[Part]:
    rows: dict[tuple[str, str], dict[str, Any]] = {(r["mix"], r["source"]): r for r in matrix.iter_rows(named=True)}
    parts = []
    for name, items in items_of(comparison).items():
        keys = [(mix, name) for mix in mixes]
        parts.append(
            Part(
                name=one_line(name, 40),
                items=items,
                cells=[_cell(rows.get(key), comparison.baseline, digits) for key in keys],
                bits=[plain(bits.get(key), 2) for key in keys] if any(key in bits for key in keys) else [],
            )
        )
    return parts


def _cell(row: dict[str, Any] | None, baseline: str, digits: int) -> tuple[str, str]:
    """Return the value, and the difference to the baseline with its interval."""
    if row is None:
        return "–", ""
    difference = f"{signed(row['effect'], digits)} {span(row['low'], row['high'], digits)}"
    return plain(row["value"], digits), "" if row["mix"] == baseline else difference


def _figures(results: Results, what: str) -> tuple[Bits, dict[str, float]]:
    """Return bits per byte of the right answers and the scores of a guess, which are those of its items, by part."""
    if what not in FIGURES:
        return {}, {}
    chances = _answer_figures(results, what, "chance")
    by_part = {one_line(part, 40): value for (_, part), value in chances.items()}
    return _answer_figures(results, what, "answer_bits_per_byte"), by_part


def _answer_figures(results: Results, what: str, figure: str) -> Bits:
    """Return the means over seeds of a figure that some parts have; likelihoods change before replies do."""
    values: dict[tuple[str, str], list[float]] = {}
    kind, file = FIGURES[what]
    for mix, runs in results.by_run(kind).items():
        for artifact in runs.values():
            for task, figures in (read_json(artifact.path / file) or {}).items():
                if figure in figures:  # bits per byte are not there where no one answer is right
                    values.setdefault((mix, task), []).append(float(figures[figure]))
    return {key: sum(numbers) / len(numbers) for key, numbers in values.items()}
