"""Effects of the mixes as a forest plot: estimate, interval, margin, and the verdict of each."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.pipelines.report.charts import Tick, scale_for, ticks
from windtunnel.pipelines.report.results import Results, Section
from windtunnel.pipelines.report.wording import (
    EffectCells,
    digits_for,
    percent,
    plain,
    seeds_range,
    sentence,
    span,
)
from windtunnel.schemas.results import Comparison


class Lane(EffectCells):
    """One mix: positions in per cent and the texts beside them."""

    at: float
    low: float | None
    high: float | None
    needed: str
    visible: str
    sources: str  # the interval with the sources as a sample
    sentence: str


class Effects(Section):
    """The forest plot."""

    title: ClassVar[str] = "Effects"
    order: ClassVar[int] = 10

    comparison: Comparison
    lanes: list[Lane]
    ticks: list[Tick]
    zero: float
    band: tuple[float, float] | None  # the margin: where it starts, how wide it is
    left: str
    right: str
    baseline_value: str
    interval: str  # its level that was used, 95%
    few_sources: bool  # too few to stand for others

    @classmethod
    def of(cls, results: Results) -> Effects | None:
        comparison = results.comparison
        if comparison is None or not comparison.effects:
            return None
        ends = [v for e in comparison.effects for v in (e.effect, e.low, e.high) if v is not None]
        margin = comparison.margin or 0.0
        scale = scale_for([*ends, margin, -margin], pad=0.08, zero=True)
        digits = digits_for(comparison)
        sides = ("better", "worse") if comparison.direction == "lower" else ("worse", "better")
        lanes = [
            Lane.of(
                e,
                digits,
                at=scale.at(e.effect),
                low=None if e.low is None else scale.at(e.low),
                high=None if e.high is None else scale.at(e.high),
                seeds=str(e.seeds),
                needed=seeds_range(e),
                visible=plain(e.smallest_visible, digits),
                sources=span(e.sources_low, e.sources_high, digits),
                sentence=sentence(e, comparison.unit, digits),
            )
            for e in comparison.effects
        ]
        return cls(
            comparison=comparison,
            lanes=lanes,
            ticks=ticks(scale, 4, sign=True),
            zero=scale.at(0),
            band=(scale.at(-margin), scale.width(-margin, margin)) if margin else None,
            left=sides[0],
            right=sides[1],
            baseline_value=plain(comparison.values.get(comparison.baseline), digits),
            interval=percent(comparison.effects[0].interval),
            few_sources=any(e.few_sources for e in comparison.effects),
        )
