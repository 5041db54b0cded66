"""Effects of the mixes as a forest plot: estimate, interval, margin, and the verdict of each."""

from __future__ import annotations

from typing import ClassVar

from windtunnel.pipelines.report.charts import Tick, scale_for, ticks
from windtunnel.pipelines.report.made import Made, Section
from windtunnel.pipelines.report.wording import LABEL, digits_for, percent, plain, sentence, signed, span
from windtunnel.schemas.records import Record
from windtunnel.schemas.results import Comparison, Effect


class EndpointClient(Record):
    """One mix: positions in per cent and the words beside them."""

    mix: str
    verdict: str
    label: str
    at: float
    low: float | None
    high: float | None
    effect: str
    interval: str
    value: str
    p: str
    seeds: int
    needed: int | None
    sentence: str
    note: str


class Effects(Section):
    """The forest plot."""

    title: ClassVar[str] = "Effects"
    order: ClassVar[int] = 10

    comparison: Comparison
    lanes: list[EndpointClient]
    ticks: list[Tick]
    zero: float
    band: tuple[float, float] | None  # the margin: where it starts, how wide it is
    left: str
    right: str
    baseline_value: str
    interval: str  # its level, 95%

    @classmethod
    def of(cls, made: Made) -> Effects | None:
        found = made.comparison
        if found is None or not found.effects:
            return None
        ends = [v for e in found.effects for v in (e.effect, e.low, e.high) if v is not None]
        margin = found.margin or 0.0
        scale = scale_for([*ends, margin, -margin], pad=0.08, zero=True)
        digits = digits_for(found)
        lower = found.direction == "lower"
        lanes = [
            EndpointClient(
                mix=e.mix,
                verdict=e.verdict,
                label=LABEL[e.verdict],
                at=scale.at(e.effect),
                low=None if e.low is None else scale.at(e.low),
                high=None if e.high is None else scale.at(e.high),
                effect=signed(e.effect, digits),
                interval=span(e.low, e.high, digits),
                value=plain(e.value, digits),
                p=p_value(e),
                seeds=e.seeds,
                needed=e.seeds_needed,
                sentence=sentence(e, found.unit, digits),
                note=e.note,
            )
            for e in found.effects
        ]
        return cls(
            comparison=found,
            lanes=lanes,
            ticks=ticks(scale, 4, sign=True),
            zero=scale.at(0),
            band=(scale.at(-margin), scale.width(-margin, margin)) if margin else None,
            left="better" if lower else "worse",
            right="worse" if lower else "better",
            baseline_value=plain(found.values.get(found.baseline), digits),
            interval=percent(found.interval),
        )


def p_value(effect: Effect) -> str:
    """Return p after Holm's correction in two digits."""
    if effect.p_holm is None:
        return "–"
    return f"{effect.p_holm:.2g}" if effect.p_holm >= 1e-4 else "<0.0001"
