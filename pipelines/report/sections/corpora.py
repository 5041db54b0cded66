"""The funnel of every corpus by rule, with examples of what each reason dropped."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.pipelines.report.funnel import Funnel, funnels
from windtunnel.pipelines.report.results import Results, Section


class Corpora(Section):
    """Funnels."""

    title: ClassVar[str] = "Corpora"
    order: ClassVar[int] = 50

    funnels: list[Funnel]

    @classmethod
    def of(cls, results: Results) -> Corpora | None:
        rows = funnels(results)
        return cls(funnels=rows) if rows else None
