"""Statistics of the measured corpora: measures by which kept and dropped documents differ, and medians by source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import polars as pl

from windtunnel.pipelines.datasets.stats import STEPS
from windtunnel.pipelines.report.charts import Scale, Tick, number
from windtunnel.pipelines.report.results import Results, Section
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record

PLOTS = 6  # measures drawn for a corpus
BARS_AN_OCTAVE = 2
MOST_BARS = 40
SOURCES = 12
FEW = 20  # kept, and dropped, documents below which no distance is shown


class Plot(Record):
    """The histograms of one measure over kept and dropped documents; positions in per cent."""

    measure: str
    distance: str
    kept: str  # SVG path, filled
    dropped: str  # SVG path, a line
    ticks: list[Tick]
    medians: str
    label: str


class Row(Record):
    """One source: the number of kept documents, and their median of each measure."""

    source: str
    documents: int
    medians: list[str]


class CorpusStatistics(Record):
    """One corpus."""

    corpus: str
    kept: int
    dropped: int
    plots: list[Plot]
    rows: list[Row]
    hidden: int  # sources that the table leaves out
    measures: int


class Statistics(Section):
    """All corpora that were measured."""

    title: ClassVar[str] = "What the rules see"
    order: ClassVar[int] = 51

    corpora: list[CorpusStatistics]

    @classmethod
    def of(cls, results: Results) -> Statistics | None:
        artifacts = results.of_kind("stats").items()
        corpora = [row for what, artifact in artifacts if (row := _corpus(what, artifact)) is not None]
        return cls(corpora=corpora) if corpora else None


def _corpus(what: str, artifact: Artifact) -> CorpusStatistics | None:
    """Return a corpus's statistics, or None when too few documents are kept or dropped to compare them."""
    bins, summary = (
        pl.scan_parquet(artifact.path / f"{name}.parquet").filter(pl.col("group") == "source").collect()
        for name in ("histograms", "summary")
    )
    sizes = {fate: _documents(summary.filter(pl.col("fate") == fate)) for fate in ("kept", "dropped")}
    if min(sizes.values()) < FEW:
        return None
    whole = bins.group_by("measure", "fate", "low").agg(pl.sum("documents"))
    far = sorted(
        ((_distance(part), str(name)) for (name,), part in whole.group_by("measure")), key=lambda f: (-f[0], f[1])
    )
    chosen = [(distance, name) for distance, name in far if distance > 0][:PLOTS]
    if not chosen:
        return None
    kept = summary.filter((pl.col("fate") == "kept") & (pl.col("measure") == chosen[0][1]))
    by_size = kept.sort(pl.col("documents") + pl.col("missing"), "key", descending=[True, False])
    names = by_size["key"].to_list()
    return CorpusStatistics(
        corpus=one_line(what, 40),
        kept=sizes["kept"],
        dropped=sizes["dropped"],
        plots=[_plot(name, distance, whole.filter(pl.col("measure") == name)) for distance, name in chosen],
        rows=[_row(key, bins, summary, [name for _, name in chosen]) for key in names[:SOURCES]],
        hidden=max(0, len(names) - SOURCES),
        measures=len(far),
    )


def _documents(summary: pl.DataFrame) -> int:
    """Return the number of documents: each measure has a row a source, with the number of those that lack it."""
    by_measure = summary.group_by("measure").agg((pl.col("documents") + pl.col("missing")).sum().alias("n"))
    return int(by_measure["n"].max() or 0)  # type: ignore[arg-type]


def _distance(bins: pl.DataFrame) -> float:
    """Return the Kolmogorov-Smirnov distance of kept and dropped documents; 0 where either are few."""
    counts = _by_fate(bins)
    kept, dropped = counts["kept"], counts["dropped"]
    if kept.sum() < FEW or dropped.sum() < FEW:
        return 0.0
    return float(((kept.cum_sum() / kept.sum()) - (dropped.cum_sum() / dropped.sum())).abs().max() or 0.0)  # type: ignore[arg-type]


def _by_fate(bins: pl.DataFrame) -> pl.DataFrame:
    """Return columns low, kept, dropped: documents by bin, in order of value."""
    fates = [pl.col("documents").filter(pl.col("fate") == fate).sum().alias(fate) for fate in ("kept", "dropped")]
    return bins.group_by("low").agg(fates).sort("low")


def _plot(measure: str, distance: float, bins: pl.DataFrame) -> Plot:
    counts = _by_fate(bins)
    bars = _bars(counts)
    largest = max(max(kept, dropped) for _, kept, dropped in bars)
    medians = [_figure(_quantile(counts["low"].to_list(), counts[fate].to_list())) for fate in ("kept", "dropped")]
    text = f"median {medians[0]} of those that stay, {medians[1]} of those that go"
    return Plot(
        measure=one_line(measure, 40),
        distance=f"{distance:.2f}",
        kept=_steps([kept / largest for _, kept, _ in bars], closed=True),
        dropped=_steps([dropped / largest for _, _, dropped in bars], closed=False),
        ticks=_ticks([low for low, _, _ in bars]),
        medians=text,
        label=f"{one_line(measure, 40)}: {text}; distance {distance:.2f}",
    )


def _bars(counts: pl.DataFrame) -> list[tuple[float, float, float]]:
    """Return (edge, share kept, share dropped) of the bars, in order, empty ones included.

    A bar is half an octave wide, or wider where there would be too many; the outermost hundredth of both goes into
    the outermost bars.
    """
    lows = counts["low"].to_list()
    totals = {fate: max(1, int(counts[fate].sum())) for fate in ("kept", "dropped")}
    shares = [counts[fate].to_list() for fate in ("kept", "dropped")]
    edges = [
        _quantile(lows, [a / totals["kept"] + b / totals["dropped"] for a, b in zip(*shares, strict=True)], q)
        for q in (0.01, 0.99)
    ]
    places = {low: _place(min(max(low, edges[0]), edges[1])) for low in lows}
    gap = min((place - 1 for place in places.values() if place > 0), default=0) if min(places.values()) <= 0 else 0
    places = {low: place - gap if place > 0 else place for low, place in places.items()}  # zero is next to the rest
    first, last = min(places.values()), max(places.values())
    wide = max(1, -(-(last - first + 1) // MOST_BARS))
    bars = {first + wide * k: [0.0, 0.0] for k in range((last - first) // wide + 1)}
    for low, kept, dropped in zip(lows, *shares, strict=True):
        bar = bars[first + (places[low] - first) // wide * wide]
        bar[0] += kept / totals["kept"]
        bar[1] += dropped / totals["dropped"]
    edge = {place: _edge(place + gap if place > 0 else place) for place in bars}
    return [(edge[place], kept, dropped) for place, (kept, dropped) in bars.items()]


FLOOR = -10 * BARS_AN_OCTAVE  # sizes below 1/1024 share a bar with zero


def _place(low: float) -> int:
    """Return the number of the bar that holds a bin: 0 for zero and sizes next to it, negative for negative values."""
    if abs(low) < 2.0 ** (FLOOR / BARS_AN_OCTAVE):
        return 0
    size = math.floor(math.log2(abs(low)) * BARS_AN_OCTAVE + 1e-6) - FLOOR + 1
    return size if low > 0 else -size


def _edge(place: int) -> float:
    """Return the lower edge of a bar's size."""
    return 0.0 if place == 0 else math.copysign(2.0 ** ((abs(place) - 1 + FLOOR) / BARS_AN_OCTAVE), place)


def _steps(heights: Sequence[float], closed: bool) -> str:
    """Return an SVG path of bars in a box of 100 x 100: closed, or the upper line alone."""
    width = 100 / len(heights)
    path = "M0 100" if closed else f"M0 {100 - 100 * heights[0]:.2f}"
    for k, height in enumerate(heights):
        path += f"L{k * width:.2f} {100 - 100 * height:.2f}L{(k + 1) * width:.2f} {100 - 100 * height:.2f}"
    return path + "L100 100Z" if closed else path


def _ticks(edges: Sequence[float]) -> list[Tick]:
    """Return labels at the lower edges of about four bars."""
    every = max(1, -(-len(edges) // 4))
    scale = Scale(0, len(edges))
    return [Tick(scale.at(k), _figure(edges[k])) for k in range(0, len(edges), every)]


def _row(key: str, bins: pl.DataFrame, summary: pl.DataFrame, measures: Sequence[str]) -> Row:
    own = bins.filter((pl.col("key") == key) & (pl.col("fate") == "kept"))
    medians = []
    for name in measures:
        part = own.filter(pl.col("measure") == name).sort("low")
        medians.append(_figure(_quantile(part["low"].to_list(), part["documents"].to_list())))
    of_source = summary.filter((pl.col("key") == key) & (pl.col("fate") == "kept"))
    return Row(source=one_line(key, 40), documents=_documents(of_source), medians=medians)


def _quantile(lows: Sequence[float], weights: Sequence[float], q: float = 0.5) -> float:
    """Return the middle of the bin that holds a quantile, or NaN without documents; the bins are in order."""
    total, below = sum(weights), 0.0
    for low, weight in zip(lows, weights, strict=True):
        below += weight
        if total and below >= q * total:
            return low * 2 ** (0.5 / STEPS)
    return math.nan


def _figure(value: float) -> str:
    """Return a number with two or three significant digits, which bins of 9 % allow."""
    if math.isnan(value):
        return "–"
    if value == 0:
        return "0"
    digits = max(0, (2 if abs(value) < 1 else 1) - math.floor(math.log10(abs(value))))
    return number(value, min(digits, 4) if abs(value) < 100 else 0)
