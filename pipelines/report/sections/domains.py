"""Mix x domain: the loss of every mix on every part of the held-out set, with intervals, as a heat table."""

from __future__ import annotations

from typing import Any, ClassVar

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.charts import shade
from windtunnel.pipelines.report.made import Made, Section, shown
from windtunnel.pipelines.report.wording import digits_for, plain, signed, span
from windtunnel.schemas.records import Record
from windtunnel.schemas.results import Comparison


class Cell(Record):
    """One mix on one domain."""

    value: str
    effect: str  # empty for the baseline
    interval: str
    shade: str
    sure: bool  # the interval leaves zero out


class Heading(Record):
    """A mix or a domain."""

    name: str
    detail: tuple[str, ...] = ()
    baseline: bool = False


class Domains(Section):
    """The heat table; whatever there is more of, mixes or domains, goes downwards."""

    title: ClassVar[str] = "By domain"
    order: ClassVar[int] = 20

    corner: str
    columns: list[Heading]
    rows: list[tuple[Heading, list[Cell]]]
    baseline: str
    unit: str

    @classmethod
    def of(cls, made: Made) -> Domains | None:
        found, matrix = made.comparison, made.matrix
        if found is None or matrix is None:
            return None
        cells = _cells(found, list(matrix.iter_rows(named=True)))
        mixes = [Heading(name=mix, baseline=mix == found.baseline) for mix in found.values]
        domains = [_domain(found, number) for number in range(len(found.on.domains))]
        names = [domain.name for domain in found.on.domains]
        if len(mixes) > len(domains):
            rows = [(mix, [cells[mix.name, name] for name in names]) for mix in mixes]
            corner, columns = "mix", domains
        else:
            rows = [
                (domain, [cells[mix.name, name] for mix in mixes]) for domain, name in zip(domains, names, strict=True)
            ]
            corner, columns = "domain", mixes
        return cls(corner=corner, columns=columns, rows=rows, baseline=found.baseline, unit=found.unit)


def _domain(found: Comparison, number: int) -> Heading:
    domain = found.on.domains[number]
    share = units.share(domain.bytes, found.on.bytes or 1)
    detail = (f"{units.count(domain.documents)} documents", f"{units.size(domain.bytes)}, {share}")
    return Heading(name=shown(domain.name, 40), detail=detail)


def _cells(found: Comparison, rows: list[dict[str, Any]]) -> dict[tuple[str, str], Cell]:
    digits = min(digits_for(found), 4)
    largest = max((abs(row["effect"]) for row in rows if row["mix"] != found.baseline), default=0.0)
    cells = {}
    for row in rows:
        low, high = row["low"], row["high"]
        if row["mix"] == found.baseline:
            cell = Cell(value=plain(row["value"], digits), effect="", interval="", shade="", sure=False)
        else:
            cell = Cell(
                value=plain(row["value"], digits),
                effect=signed(row["effect"], digits),
                interval=span(low, high, digits),
                shade=shade(row["effect"], largest, found.direction == "lower"),
                sure=low is not None and (low > 0 or high < 0),
            )
        cells[row["mix"], row["source"]] = cell
    return cells
