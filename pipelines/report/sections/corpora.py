"""What became of the text of every corpus: the funnel by rule, with examples of what each reason dropped."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.pipelines.report.funnel import Funnel, funnels
from windtunnel.pipelines.report.made import Made, Section


class Corpora(Section):
    """Funnels."""

    title: ClassVar[str] = "Corpora"
    order: ClassVar[int] = 50

    funnels: list[Funnel]

    @classmethod
    def of(cls, made: Made) -> Corpora | None:
        found = funnels(made)
        return cls(funnels=found) if found else None
