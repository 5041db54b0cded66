"""Mix x domain: the loss of every mix on every part of the held-out set, with intervals, as a heat table."""

from __future__ import annotations

from typing import Any, ClassVar

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.charts import shade
from windtunnel.pipelines.report.results import Results, Section
from windtunnel.pipelines.report.wording import digits_for, plain, signed, span
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record
from windtunnel.schemas.results import Comparison, Domain


class Cell(Record):
    """One mix on one domain; only the value for the baseline."""

    value: str
    effect: str = ""
    interval: str = ""
    shade: str = ""
    sure: bool = False  # it holds after correction over all cells


class Heading(Record):
    """A mix or a domain."""

    name: str
    detail: tuple[str, ...] = ()
    baseline: bool = False


class Domains(Section):
    """The heat table. The longer of the lists of mixes and domains makes the rows."""

    title: ClassVar[str] = "By domain"
    order: ClassVar[int] = 20

    corner: str
    columns: list[Heading]
    rows: list[tuple[Heading, list[Cell]]]
    baseline: str
    unit: str

    @classmethod
    def of(cls, results: Results) -> Domains | None:
        comparison, matrix = results.comparison, results.matrix
        if comparison is None or matrix is None:
            return None
        cells = _cells(comparison, list(matrix.iter_rows(named=True)))
        mixes = {mix: Heading(name=mix, baseline=mix == comparison.baseline) for mix in comparison.values}
        domains = {domain.name: _heading(domain, comparison.on.bytes) for domain in comparison.on.domains}
        if len(mixes) > len(domains):
            corner, columns = comparison.called, domains
            rows = [(heading, [cells[mix, name] for name in domains]) for mix, heading in mixes.items()]
        else:
            corner, columns = "domain", mixes
            rows = [(heading, [cells[mix, name] for mix in mixes]) for name, heading in domains.items()]
        return cls(
            corner=corner,
            columns=list(columns.values()),
            rows=rows,
            baseline=comparison.baseline,
            unit=comparison.unit,
        )


def _heading(domain: Domain, total: int) -> Heading:
    share = units.share(domain.bytes, total or 1)
    detail = (f"{units.count(domain.documents)} documents", f"{units.size(domain.bytes)}, {share}")
    return Heading(name=one_line(domain.name, 40), detail=detail)


def _cells(comparison: Comparison, rows: list[dict[str, Any]]) -> dict[tuple[str, str], Cell]:
    """Return the cells by mix and domain."""
    digits = min(digits_for(comparison), 4)
    largest = max((abs(row["effect"]) for row in rows if row["mix"] != comparison.baseline), default=0.0)
    cells = {}
    for row in rows:
        cell = Cell(value=plain(row["value"], digits))
        if row["mix"] != comparison.baseline:
            cell = Cell(
                value=cell.value,
                effect=signed(row["effect"], digits),
                interval=span(row["low"], row["high"], digits),
                shade=shade(row["effect"], largest, comparison.direction == "lower"),
                sure=row["named"],
            )
        cells[row["mix"], row["source"]] = cell
    return cells
