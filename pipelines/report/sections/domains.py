"""Mix x domain: the loss of every mix on every part of the held-out set, with intervals, as a heat table."""

from __future__ import annotations

from typing import ClassVar

from pipelines.report import units
from pipelines.report.charts import shade
from pipelines.report.made import Made, Section, shown
from pipelines.wording import digits_for, plain, signed, span
from schemas.records import Record


class Cell(Record):
    """One mix on one domain."""

    value: str
    effect: str
    interval: str
    shade: str
    sure: bool  # the interval leaves zero out


class Column(Record):
    """One domain of the held-out set."""

    name: str
    documents: str
    size: str
    share: str


class Domains(Section):
    """The heat table."""

    title: ClassVar[str] = "By domain"
    order: ClassVar[int] = 20

    columns: list[Column]
    rows: dict[str, list[Cell]]
    baseline: str
    unit: str
    lower_is_better: bool

    @classmethod
    def of(cls, made: Made) -> Domains | None:
        found, matrix = made.comparison, made.matrix
        if found is None or matrix is None:
            return None
        lower = found.direction == "lower"
        digits = min(digits_for(found), 4)
        cells = {(row["mix"], row["source"]): row for row in matrix.iter_rows(named=True)}
        others = [row for row in cells.values() if row["mix"] != found.baseline]
        largest = max((abs(row["effect"]) for row in others), default=0.0)
        whole = found.on.bytes or 1
        columns = [
            Column(
                name=shown(d.name, 40),
                documents=units.count(d.documents),
                size=units.size(d.bytes),
                share=units.share(d.bytes, whole),
            )
            for d in found.on.domains
        ]
        rows = {}
        for mix in found.values:
            rows[mix] = []
            for domain in found.on.domains:
                row = cells[mix, domain.name]
                base = mix == found.baseline
                low, high = row["low"], row["high"]
                cell = Cell(
                    value=plain(row["value"], digits),
                    effect="" if base else signed(row["effect"], digits),
                    interval="" if base else span(low, high, digits),
                    shade="" if base else shade(row["effect"], largest, lower),
                    sure=not base and low is not None and (low > 0 or high < 0),
                )
                rows[mix].append(cell)
        return cls(columns=columns, rows=rows, baseline=found.baseline, unit=found.unit, lower_is_better=lower)
