"""Training loss of every mix over its tokens: the mean of the seeds, and the band from the lowest to the highest."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.charts import Scale, Tick, band, binned, line, series, ticks
from windtunnel.pipelines.report.made import Made, Section
from windtunnel.schemas.records import Record

BINS = 100
SETTLED = 0.15  # share of the tokens after which the loss sets the height of the chart: it starts at ln(vocabulary)


class Curve(Record):
    """One mix."""

    mix: str
    series: str
    line: str
    band: str
    last: str
    seeds: int


class Curves(Section):
    """Loss curves."""

    title: ClassVar[str] = "Training"
    order: ClassVar[int] = 30

    curves: list[Curve]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    seeds: int
    parameters: int | None
    tokens: str

    @classmethod
    def of(cls, made: Made) -> Curves | None:
        logs = _logs(made)
        if not logs:
            return None
        most = max(float(log["tokens"].max()) for runs in logs.values() for log in runs)  # type: ignore[arg-type]
        edges = np.linspace(0, most, BINS + 1)
        middle = (edges[1:] + edges[:-1]) / 2
        means = {mix: _by_seed(runs, edges) for mix, runs in logs.items()}
        x = Scale(0.0, most)
        y = _y_scale([m[:, middle >= SETTLED * most] for m in means.values()])
        curves = []
        for number, (mix, seeds) in enumerate(means.items()):
            there = ~np.isnan(seeds).all(axis=0)
            xs, at = middle[there], seeds[:, there]
            mean = np.nanmean(at, axis=0)
            edge = (np.nanmin(at, axis=0), np.nanmax(at, axis=0))
            curves.append(
                Curve(
                    mix=mix,
                    series=series(number),
                    line=line(xs.tolist(), mean.tolist(), x, y),
                    band=band(xs.tolist(), edge[0].tolist(), edge[1].tolist(), x, y) if len(seeds) > 1 else "",
                    last=f"{mean[-1]:.3f}",
                    seeds=len(seeds),
                )
            )
        results = [r for r in (_result(a) for a in made.of_kind("train").values()) if r]
        return cls(
            curves=curves,
            x_ticks=[Tick(t.at, units.short(float(t.label.replace(",", "")))) for t in ticks(x, 5) if t.at <= 97],
            y_ticks=ticks(y, 5),
            seeds=max(curve.seeds for curve in curves),
            parameters=results[0].get("parameters") if results else None,
            tokens=units.short(most),
        )


def _logs(made: Made) -> dict[str, list[pl.DataFrame]]:
    """Return the logs of every mix, one a seed; runs without a log, or without a step in it, are left out."""
    logs: dict[str, list[pl.DataFrame]] = {mix: [] for mix in made.mixes()}
    for what, artifact in made.of_kind("train").items():
        file = artifact.path / "log.parquet"
        if not file.exists():
            continue
        log = pl.read_parquet(file)
        if {"tokens", "loss"} <= set(log.columns) and log.height:
            log = log.select("tokens", "loss").drop_nulls().filter(pl.col("loss").is_finite())
            if log.height:
                logs.setdefault(what.rpartition(":")[0], []).append(log)
    return {mix: runs for mix, runs in logs.items() if runs}


def _by_seed(runs: list[pl.DataFrame], edges: np.ndarray) -> np.ndarray:
    """Return the mean loss in every bin, (seeds, bins)."""
    return np.stack([binned(log["tokens"].to_numpy(), log["loss"].to_numpy(), edges) for log in runs])


def _y_scale(means: list[np.ndarray]) -> Scale:
    values = np.concatenate([m[np.isfinite(m)] for m in means]) if means else np.empty(0)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    air = max((high - low) * 0.1, 1e-6)
    return Scale(low - air, high + air)


def _result(artifact: Any) -> dict[str, Any]:
    from windtunnel.pipelines.report.made import read_json

    return read_json(artifact.path / "result.json") or {}
