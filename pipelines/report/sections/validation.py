"""Held-out loss in training: curves by source and mix, the mean of the seeds, and the band over them."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.charts import Scale, Tick, band, line, series, ticks
from windtunnel.pipelines.report.results import Results, Section, read_json
from windtunnel.pipelines.report.trained import MEASURES
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record

SOURCES = 12  # charts of single sources, the largest ones
SETTLED = 0.15  # share of the tokens after which the loss sets the scale of a chart
ALL = "all sources"


class Line(Record):
    """One mix in one chart."""

    mix: str
    series: str
    line: str
    band: str
    last: str
    seeds: int


class Panel(Record):
    """The chart of a source, or of all together; with scores of several measures, that of one of them."""

    source: str
    measure: str  # in words; empty where all runs have the same
    bytes: str
    lines: list[Line]
    y_ticks: list[Tick]


class Validation(Section):
    """One chart over all sources, then one for each; scores that do not compare have their own."""

    title: ClassVar[str] = "Held-out loss in training"
    order: ClassVar[int] = 31

    panels: list[Panel]
    whole: int  # of the panels, the first ones, over all sources
    x_ticks: list[Tick]
    seeds: int
    left_out: int
    documents: int

    @classmethod
    def of(cls, results: Results) -> Validation | None:
        points = _points(results)
        if points is None:
            return None
        first = points["tokens"].min()
        sizes = points.filter(pl.col("tokens") == first).group_by("source").agg(pl.col("bytes").first())
        names = sizes.sort("bytes", descending=True)["source"].to_list()
        x = Scale(0.0, float(points["tokens"].max()))  # type: ignore[arg-type]
        mixes = [mix for mix in results.by_run("train") if mix in set(points["mix"])]
        groups = _measures(results, mixes)
        shown = sorted(names[: max(1, SOURCES // len(groups))]) if len(names) > 1 else []
        charts = [(ALL, points), *((name, points.filter(pl.col("source") == name)) for name in shown)]
        panels = [
            _panel(name, measure, part, mixes, x)
            for name, own in charts
            for measure, group in groups.items()
            if (part := own.filter(pl.col("mix").is_in(group))).height
        ]
        of_a_run = points.filter((pl.col("mix") == mixes[0]) & (pl.col("seed") == points["seed"][0]))
        return cls(
            panels=panels,
            whole=len(groups),
            x_ticks=[Tick(t.at, units.short(float(t.label.replace(",", "")))) for t in ticks(x, 5) if t.at <= 97],
            seeds=points["seed"].n_unique(),
            left_out=len(names) - len(shown) if shown else 0,
            documents=int(of_a_run.group_by("step").agg(pl.col("documents").sum())["documents"].max() or 0),  # type: ignore[arg-type]
        )


def _measures(results: Results, mixes: list[str]) -> dict[str, list[str]]:
    """Return the mixes by what their scores measure, in words; by an empty word where that is the same for all."""
    runs, groups = results.by_run("train"), dict[str, list[str]]()
    for mix in mixes:
        result = next((read_json(artifact.path / "result.json") or {} for artifact in runs[mix].values()), {})
        measure = result.get("measure", "likelihood")
        groups.setdefault(MEASURES.get(measure, str(measure)), []).append(mix)
    return groups if len(groups) > 1 else {"": mixes}


def _points(results: Results) -> pl.DataFrame | None:
    """Return mix, seed, step, tokens, source, nats, bytes and documents of all runs; None without a finite one."""
    frames = [
        pl.read_parquet(file).with_columns(mix=pl.lit(mix), seed=pl.lit(seed))
        for mix, runs in results.by_run("train").items()
        for seed, artifact in runs.items()
        if (file := artifact.path / "validation.parquet").exists()
    ]
    points = pl.concat(frames).filter(pl.col("nats").is_finite() & (pl.col("bytes") > 0)) if frames else pl.DataFrame()
    return points if points.height else None


def _panel(source: str, measure: str, points: pl.DataFrame, mixes: list[str], x: Scale) -> Panel:
    sums = points.group_by("mix", "seed", "step").agg(
        pl.col("tokens").first(), bits=pl.col("nats").sum() / math.log(2) / pl.col("bytes").sum()
    )
    late = sums.filter(pl.col("tokens") >= SETTLED * x.high)["bits"]
    low, high = float(late.min()), float(late.max())  # type: ignore[arg-type]
    air = max((high - low) * 0.1, 1e-6)
    y = Scale(low - air, high + air)
    lines = []
    for number, mix in enumerate(mixes):
        own = sums.filter(pl.col("mix") == mix)
        seeds = own["seed"].n_unique()
        by_step = own.group_by("step").agg(
            pl.col("tokens").mean(), mean=pl.col("bits").mean(), low=pl.col("bits").min(), high=pl.col("bits").max()
        )
        by_step = by_step.sort("step")
        if by_step.is_empty():
            continue
        xs, means, lows, highs = (by_step[name].to_list() for name in ("tokens", "mean", "low", "high"))
        lines.append(
            Line(
                mix=mix,
                series=series(number),
                line=line(xs, means, x, y),
                band=band(xs, lows, highs, x, y) if seeds > 1 else "",
                last=f"{means[-1]:.3f}",
                seeds=seeds,
            )
        )
    size: Any = points.group_by("mix", "seed", "step").agg(pl.col("bytes").sum())["bytes"].max()
    return Panel(
        source=one_line(source, 60),
        measure=measure,
        bytes=units.size(float(size or 0)),
        lines=lines,
        y_ticks=ticks(y, 4),  # type: ignore[arg-type]
    )
