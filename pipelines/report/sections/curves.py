"""Training loss of every mix over its tokens: the mean of the seeds, and the band from the lowest to the highest."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.charts import Scale, Tick, band, binned, line, series, ticks
from windtunnel.pipelines.report.results import Results, Section, read_json
from windtunnel.schemas.records import Record

BINS = 100
UNIT = "nats per token"
SETTLED = 0.15  # share of the tokens after which the loss sets the scale of the chart: it starts at ln(vocabulary)


class Curve(Record):
    """One mix."""

    mix: str
    series: str
    line: str
    band: str
    last: str
    unit: str
    points: int
    seeds: int


class Curves(Section):
    """Loss curves."""

    title: ClassVar[str] = "Training"
    order: ClassVar[int] = 30

    curves: list[Curve]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    seeds: int
    parameters: int | None  # None: not the same in all runs
    objectives: int  # how many different ones
    mixes: int
    units: list[str]
    tokens: str
    notes: list[str]

    @classmethod
    def of(cls, results: Results) -> Curves | None:
        logs = _logs(results)
        if not logs:
            return None
        most = max(float(log["tokens"].max()) for runs in logs.values() for log in runs)  # type: ignore[arg-type]
        edges = np.linspace(0, most, BINS + 1)
        middle = (edges[1:] + edges[:-1]) / 2
        means = {mix: _by_seed(runs, edges) for mix, runs in logs.items()}
        reports = {
            mix: [read_json(artifact.path / "result.json") or {} for artifact in runs.values()]
            for mix, runs in results.by_run("train").items()
        }
        x = Scale(0.0, most)
        y = _y_scale([m[:, middle >= SETTLED * most] for m in means.values()])
        curves = []
        for number, (mix, seeds) in enumerate(means.items()):
            filled = ~np.isnan(seeds).all(axis=0)
            xs, seeds = middle[filled].tolist(), seeds[:, filled]
            mean, low, high = (f(seeds, axis=0).tolist() for f in (np.nanmean, np.nanmin, np.nanmax))
            curves.append(
                Curve(
                    mix=mix,
                    series=series(number),
                    line=line(xs, mean, x, y),
                    band=band(xs, low, high, x, y) if len(seeds) > 1 else "",
                    last=f"{mean[-1]:.3f}",
                    unit=_unit(reports[mix][0].get("loss_unit")),
                    points=len(xs),
                    seeds=len(seeds),
                )
            )
        flat = [report for runs in reports.values() for report in runs if report]
        sizes = {report.get("parameters") for report in flat}
        return cls(
            curves=curves,
            x_ticks=[Tick(t.at, units.short(float(t.label.replace(",", "")))) for t in ticks(x, 5) if t.at <= 97],
            y_ticks=ticks(y, 5),
            seeds=max(curve.seeds for curve in curves),
            parameters=sizes.pop() if len(sizes) == 1 else None,
            objectives=len({report.get("objective") for report in flat}),
            mixes=len(results.mixes()),
            units=sorted({curve.unit for curve in curves}),
            tokens=units.short(most),
            notes=[*_left_out(results), *_noise(results, reports)],
        )


def _unit(told: Any) -> str:
    """Return the unit of a loss as it stands behind a number: "units of its form per pair"."""
    return str(told or UNIT).removeprefix("the ").replace(", per ", " per ")


def _logs(results: Results) -> dict[str, list[pl.DataFrame]]:
    """Return the logs of every mix, one a seed; runs without a log, or without a step in it, are left out."""
    logs: dict[str, list[pl.DataFrame]] = {}
    for mix, runs in results.by_run("train").items():
        for artifact in runs.values():
            log = pl.read_parquet(file) if (file := artifact.path / "log.parquet").exists() else pl.DataFrame()
            if {"tokens", "loss"} <= set(log.columns):
                log = log.select("tokens", "loss").drop_nulls().filter(pl.col("loss").is_finite())
                logs.setdefault(mix, []).extend([log] if log.height else [])
    return {mix: kept for mix, kept in logs.items() if kept}


def _left_out(results: Results) -> list[str]:
    """Return a sentence about every run that left out steps."""
    return [
        f"{name.what} left out {words} steps for their gradients (skip_spikes); they count as trained on."
        for name, artifact in results.finished.items()
        if name.kind == "train" and (words := artifact.manifest.counts.get("notes", {}).get("steps_left_out"))
    ]


def _noise(results: Results, reports: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return a sentence about the noise scale of every mix, where it was asked for."""
    found = []
    for mix, runs in results.by_run("train").items():
        notes = [artifact.manifest.counts.get("notes", {}) for artifact in runs.values()]
        batches = [note["critical_batch_tokens"] for note in notes if "critical_batch_tokens" in note]
        if batches:
            mean = units.short(sum(batches) / len(batches))
            found.append(f"{mix}: batches beyond about {mean} tokens save few steps (gradient noise scale).")
        elif why := next((note["gradient_noise"] for note in notes if "gradient_noise" in note), ""):
            found.append(f"{mix}: the gradient noise scale is {why.replace('`', '')}.")
    return found


def _by_seed(runs: list[pl.DataFrame], edges: np.ndarray) -> np.ndarray:
    """Return the mean loss in every bin, (seeds, bins)."""
    return np.stack([binned(log["tokens"].to_numpy(), log["loss"].to_numpy(), edges) for log in runs])


def _y_scale(means: list[np.ndarray]) -> Scale:
    values = np.concatenate([m[np.isfinite(m)] for m in means]) if means else np.empty(0)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    air = max((high - low) * 0.1, 1e-6)
    return Scale(low - air, high + air)
