"""The trainings of a recipe with variants side by side: what each is, what it cost, its score and its probes."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.pipelines.report.results import Results, Section
from windtunnel.pipelines.report.trained import Line, columns, lines, notes
from windtunnel.schemas.side_by_side import Table


class Trainings(Section):
    """One row a training."""

    title: ClassVar[str] = "Side by side"
    order: ClassVar[int] = 9

    columns: list[tuple[str, bool]]
    lines: list[Line]
    notes: list[str]

    @classmethod
    def of(cls, results: Results) -> Trainings | None:
        artifact = results.named("side_by_side")
        if artifact is None:
            return None
        table = Table.read(artifact.path)
        return cls(columns=columns(table), lines=lines(table), notes=notes(table))
