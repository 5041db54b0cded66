"""Comparisons beside the main one: preferences, checkable tasks, wins by a judge; each with what it was measured on."""

from __future__ import annotations

from typing import Any, ClassVar

import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.made import Made, Section, read_json, shown
from windtunnel.pipelines.report.sections.effects import p_value
from windtunnel.pipelines.report.wording import LABEL, digits_for, further, percent, plain, signed, span, width_note
from windtunnel.schemas.records import Record
from windtunnel.schemas.results import Comparison, Effect


class Line(Record):
    """One mix."""

    mix: str
    value: str
    effect: str  # empty for the baseline
    interval: str
    p: str
    seeds: str
    verdict: str
    label: str


class Part(Record):
    """One task or source: per mix the value, and the difference to the baseline."""

    name: str
    items: int
    cells: list[tuple[str, str]]
    bits: list[str]  # of the right answer per byte, by mix; empty when not known


class Measure(Record):
    """One comparison."""

    name: str
    value: str
    items: str
    on: str
    baseline: str
    interval: str
    mixes: list[str]
    lines: list[Line]
    parts: list[Part]
    by: str  # what the parts are: task or source
    notes: list[str]


class Measures(Section):
    """A block per further comparison."""

    title: ClassVar[str] = "Further measures"
    order: ClassVar[int] = 22

    measures: list[Measure]

    @classmethod
    def of(cls, made: Made) -> Measures | None:
        bits = _answer_bits(made)
        found = [
            _measure(what, comparison, matrix, bits if what == "tasks" else {})
            for what, (comparison, matrix) in made.further.items()
        ]
        return cls(measures=found) if found else None


def _measure(what: str, found: Comparison, matrix: pl.DataFrame | None, bits: dict[tuple[str, str], float]) -> Measure:
    digits = min(digits_for(found), 4)
    words = further(what, found)
    mixes = [found.baseline, *(e.mix for e in found.effects)]
    parts = [] if matrix is None else _parts(found, mixes, matrix, bits, digits)
    return Measure(
        name=shown(words.name),
        value=words.value,
        items=words.items,
        on=f"{shown(found.on.description, 300)}: {units.count(found.on.documents)} {words.items}",
        baseline=found.baseline,
        interval=percent(found.interval),
        mixes=mixes,
        lines=[_baseline(found, digits), *(_line(e, digits) for e in found.effects)],
        parts=parts if what == "tasks" or len(parts) > 1 else [],
        by="task" if what == "tasks" else "source",
        notes=_notes(what, found, words.items),
    )


def _line(e: Effect, digits: int) -> Line:
    return Line(
        mix=e.mix,
        value=plain(e.value, digits),
        effect=signed(e.effect, digits),
        interval=span(e.low, e.high, digits),
        p=p_value(e),
        seeds=f"{e.seeds} of {e.seeds_needed}" if e.seeds_needed else str(e.seeds),
        verdict=e.verdict,
        label=LABEL[e.verdict],
    )


def _baseline(found: Comparison, digits: int) -> Line:
    value = plain(found.values.get(found.baseline), digits)
    seeds = str(len(found.seeds))
    return Line(
        mix=found.baseline, value=value, effect="", interval="baseline", p="", seeds=seeds, verdict="", label=""
    )


def _notes(what: str, found: Comparison, items: str) -> list[str]:
    notes = []
    if what == "win_rate":
        notes.append(f"{found.baseline} against itself is one half by definition, so its value has no spread.")
    if found.values and all(0 <= value <= 1 for value in found.values.values()):
        notes += [note for e in found.effects if (note := width_note(e, items))]
        if len(set(found.values.values())) == 1 and next(iter(found.values.values())) in (0.0, 1.0):
            notes.append("Every mix is at the end of the scale: this measure cannot tell them apart.")
    return notes


def _parts(
    found: Comparison, mixes: list[str], matrix: pl.DataFrame, bits: dict[tuple[str, str], float], digits: int
) -> list[Part]:
    cells: dict[tuple[str, str], dict[str, Any]] = {(r["mix"], r["source"]): r for r in matrix.iter_rows(named=True)}
    parts = []
    for domain in found.on.domains:
        rows = [cells.get((mix, domain.name)) for mix in mixes]
        known = [bits.get((mix, domain.name)) for mix in mixes]
        parts.append(
            Part(
                name=shown(domain.name, 40),
                items=domain.documents,
                cells=[
                    ("–", "") if row is None else (plain(row["value"], digits), _against(row, found.baseline, digits))
                    for row in rows
                ],
                bits=[plain(value, 2) for value in known] if any(value is not None for value in known) else [],
            )
        )
    return parts


def _against(row: dict[str, Any], baseline: str, digits: int) -> str:
    if row["mix"] == baseline:
        return ""
    return f"{signed(row['effect'], digits)} {span(row['low'], row['high'], digits)}"


def _answer_bits(made: Made) -> dict[tuple[str, str], float]:
    """Return bits per byte of the right answer by mix and task, the mean over seeds: it moves before replies do."""
    found: dict[tuple[str, str], list[float]] = {}
    for mix, runs in made.by_run("tasks").items():
        for artifact in runs.values():
            for task, figures in (read_json(artifact.path / "tasks.json") or {}).items():
                found.setdefault((mix, task), []).append(float(figures["answer_bits_per_byte"]))
    return {key: sum(values) / len(values) for key, values in found.items()}
