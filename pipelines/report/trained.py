"""The table of what was trained, side by side, as texts: the same on the terminal and in the report."""

from __future__ import annotations

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.wording import plain
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record
from windtunnel.schemas.side_by_side import ProbeFigure, Row, Table

MEASURES = {
    "likelihood": "bits per byte",
    "pseudo_likelihood": "bits per byte, hidden tokens",
    "target": "bits per byte, cut-out pieces",
    None: "none",
}
PROBES = {"sources": "source of a paragraph", "senses": "word sense"}


class Line(Record):
    """One training: a text for every column of `columns`."""

    run: str
    cells: list[str]
    comparable: bool
    baseline: bool


def columns(table: Table) -> list[tuple[str, bool]]:
    """Return the names of the columns after the run's, and which of them hold numbers."""
    probes = [(f"probe: {PROBES.get(task, one_line(task, 40))}", True) for task in _tasks(table)]
    sizes = ("parameters", *(("trained",) if _in_part(table) else ()))
    numbers = [(name, True) for name in (*sizes, "tokens", "FLOPs", "time", "score")]
    return [("objective", False), ("model", False), *numbers, ("measured", False), *probes]


def lines(table: Table) -> list[Line]:
    """Return a line per training."""
    return [
        Line(
            run=one_line(row.run, 60),
            cells=[
                one_line(row.objective, 120),
                one_line(row.model, 40),
                units.short(row.parameters),
                *((_trained(row),) if _in_part(table) else ()),
                *(units.short(value) for value in (row.tokens, row.flops)),
                units.seconds(row.seconds),
                _score(row),
                MEASURES.get(row.measure, one_line(str(row.measure), 40)),
                *(_accuracy(row.probes.get(task)) for task in _tasks(table)),
            ],
            comparable=not row.incomparable,
            baseline=row.run == table.baseline,
        )
        for row in table.rows
    ]


def notes(table: Table) -> list[str]:
    """Return what is comparable and what is not, and what the probes are worth."""
    base = next(row for row in table.rows if row.run == table.baseline)
    alike = [row.run for row in table.rows if row.measure is not None and not row.incomparable]
    found = [f"The scores of {_and(alike)} are on one scale: {MEASURES[base.measure]}."] if len(alike) > 1 else []
    found += [
        f"{row.run} does not compare with {table.baseline}: {row.incomparable}."
        for row in table.rows
        if row.incomparable
    ]
    if base.score is not None and base.score.half is not None:
        found.append(
            "\u00b1 is the 95% interval over the seeds of each training alone; differences are paired, and surer."
        )
    if any(" + " in row.objective for row in table.rows):
        found.append(
            "Tokens, FLOPs and time are those of all stages of a training; a stage that several share was trained once."
        )
    if _in_part(table):
        found.append(
            "Parameters count those that a delta (in brackets) adds; trained are the weights that the last stage "
            "trains."
        )
    for task in _tasks(table):
        probe = next(row.probes[task] for row in table.rows if task in row.probes)
        found.append(
            f"The probe of {PROBES.get(task, task)} compares all of them, on {probe.items:,} items; chance is "
            f"{100 * probe.chance:.1f}%, and brackets hold the 95% interval from the sampling of the items"
            f"{' and the seeds' if base.seeds > 1 else ''}."
        )
    return found


def _tasks(table: Table) -> list[str]:
    return list(dict.fromkeys(task for row in table.rows for task in row.probes))


def _in_part(table: Table) -> bool:
    """Return whether a training trains fewer weights than it has."""
    return any(row.trained is not None and row.trained < row.parameters for row in table.rows)


def _trained(row: Row) -> str:
    if row.trained is None or row.trained >= row.parameters:
        return "all" if row.trained is not None else "\u2013"
    share = 100 * row.trained / row.parameters
    return f"{units.short(row.trained)} ({share:.2g}%)"


def _score(row: Row) -> str:
    if row.score is None:
        return "\u2013"
    return plain(row.score.mean, 3) + ("" if row.score.half is None else f" \u00b1{row.score.half:.3f}")


def _accuracy(probe: ProbeFigure | None) -> str:
    if probe is None:
        return "\u2013"
    return f"{100 * probe.accuracy:.1f}% [{100 * probe.low:.1f}, {100 * probe.high:.1f}]"


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
