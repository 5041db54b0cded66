"""The two parts of each effect where the sources were pinned: the mixture of sources, and the documents within them."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.pipelines.report.results import Results, Section
from windtunnel.pipelines.report.wording import EffectCells, digits_for
from windtunnel.schemas.records import Record
from windtunnel.schemas.results import Comparison


class Divided(Record):
    """One mix: the two parts of its effect, and the effect, as cells."""

    mix: str
    rows: list[tuple[str, EffectCells]]


class PartsOfEffects(Section):
    """The table of parts."""

    title: ClassVar[str] = "Mixture and documents"
    order: ClassVar[int] = 15

    comparison: Comparison
    mixes: list[Divided]

    @classmethod
    def of(cls, results: Results) -> PartsOfEffects | None:
        comparison = results.comparison
        if comparison is None or not comparison.parts:
            return None
        digits = digits_for(comparison)
        effects = {effect.mix: effect for effect in comparison.effects}
        mixes = [
            Divided(
                mix=mix,
                rows=[
                    ("mixture of sources", EffectCells.of(parts.mixture, digits)),
                    ("documents within the sources", EffectCells.of(parts.documents, digits)),
                    ("both: the effect", EffectCells.of(effects[mix], digits)),
                ],
            )
            for mix, parts in comparison.parts.items()
        ]
        return cls(comparison=comparison, mixes=mixes)
