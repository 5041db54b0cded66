"""Held-out preference margins: the score of the chosen answer minus that of the rejected one, by mix."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import polars as pl

from windtunnel.pipelines.report import units
from windtunnel.pipelines.report.charts import Tick, number, scale_for, ticks
from windtunnel.pipelines.report.results import Results, Section
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.printable import one_line
from windtunnel.schemas.records import Record

BINS = 30
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
MEASURES = {
    "implicit_reward": "implicit reward, as the objective defines it: the gain in log-likelihood over the start model",
    "implicit_reward_per_token": "implicit reward per token: the mean gain in log-likelihood over the start model",
    "nats_per_token": "nats per token of the answer, the log-likelihood that the model gives it",
    "nats_per_byte": "nats per byte of the answer, the log-likelihood that the model gives it",
    "reward": "reward, the score that the reward model gives",
}


class Bin(Record):
    """A bar of the histogram; positions in per cent of the chart, from the top."""

    x: float
    y: float
    width: float
    height: float
    right: bool  # the chosen answer has the higher score
    label: str


class Margins(Record):
    """One mix, all seeds."""

    mix: str
    bins: list[Bin]
    accuracy: str
    ties: int
    not_finite: int
    rows: int
    quantiles: list[str]
    chosen_longer: str  # share right where the chosen answer is the longer one
    chosen_shorter: str


class PreferenceMargins(Section):
    """Histograms on one scale."""

    title: ClassVar[str] = "Preference margins"
    order: ClassVar[int] = 24

    mixes: list[Margins]
    measure: str
    pairs: int
    ticks: list[Tick]
    zero: float
    lengths: bool

    @classmethod
    def of(cls, results: Results) -> PreferenceMargins | None:
        frames = {mix: frame for mix, runs in results.by_run("train").items() if (frame := _frame(runs)) is not None}
        finite = {mix: _finite(frame) for mix, frame in frames.items()}
        if not any(len(values) for values in finite.values()):
            return None
        edges = _edges(np.concatenate(list(finite.values())))
        scale = scale_for(edges.tolist(), pad=0.0)
        counts = {mix: _counts(values, edges) for mix, values in finite.items()}
        tallest = max(float(c.max()) for c in counts.values())
        digits = _digits(float(edges[-1] - edges[0]))
        lengths = _lengths(results)
        names = {name for frame in frames.values() for name in frame["measure"].unique().to_list()}
        mixes = [
            Margins(
                mix=mix if len(names) == 1 else f"{mix} ({_measured(frame)})",
                bins=[
                    Bin(
                        x=scale.at(edges[k]),
                        y=round(100 - 100 * share / tallest, 3),
                        width=scale.width(edges[k], edges[k + 1]),
                        height=round(100 * share / tallest, 3),
                        right=bool(edges[k] >= 0),
                        label=f"{_ends(edges, k, digits)}: {100 * share:.1f}%",
                    )
                    for k, share in enumerate(counts[mix].tolist())
                    if share
                ],
                accuracy=units.share(float(frame["correct"].sum()), frame.height),
                ties=frame.filter(pl.col("margin") == 0).height,
                not_finite=frame.height - len(finite[mix]),
                rows=frame.height,
                quantiles=_quantiles(finite[mix], digits),
                **_by_length(frame, lengths),
            )
            for mix, frame in frames.items()
        ]
        return cls(
            mixes=mixes,
            measure="; ".join(MEASURES.get(name, one_line(name, 40)) for name in sorted(names)),
            pairs=max(frame["document"].n_unique() for frame in frames.values()),
            ticks=ticks(scale, 5, sign=True),
            zero=scale.at(0.0),
            lengths=lengths is not None,
        )


def _frame(runs: dict[str, Artifact]) -> pl.DataFrame | None:
    """Return document, margin, correct, measure of every run of a mix: about 60 bytes a pair and seed."""
    files = [run.path / "preferences.parquet" for run in runs.values() if (run.path / "preferences.parquet").exists()]
    frames = [frame for file in files if (frame := pl.read_parquet(file)).height]
    measures = [pl.col("measure") if "measure" in frame.columns else pl.lit("margin") for frame in frames]
    columns = ("document", "margin", "correct")
    rows = [frame.select(*columns, measure=measure) for frame, measure in zip(frames, measures, strict=True)]
    return pl.concat(rows, how="vertical_relaxed") if rows else None


def _measured(frame: pl.DataFrame) -> str:
    return ", ".join(one_line(name.replace("_", " "), 40) for name in sorted(frame["measure"].unique().to_list()))


def _finite(frame: pl.DataFrame) -> np.ndarray:
    values = frame["margin"].cast(pl.Float64).to_numpy()
    return values[np.isfinite(values)]


def _edges(values: np.ndarray) -> np.ndarray:
    """Return the edges of the bins, zero among them, over the 1st to 99th percentiles; the end bins take the rest."""
    low, high = (float(v) for v in np.quantile(values, [0.01, 0.99]))
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / BINS or 0.1
    return np.arange(math.floor(low / step - 1e-9), math.ceil(high / step + 1e-9) + 1) * step


def _counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the share of the values in every bin; zero falls into the bin above it."""
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return np.bincount(place, minlength=len(edges) - 1) / max(1, len(values))


def _ends(edges: np.ndarray, k: int, digits: int) -> str:
    low = "below" if k == 0 else f"{number(float(edges[k]), digits, sign=True)} to"
    high = number(float(edges[k + 1]), digits, sign=True)
    return f"{number(float(edges[k]), digits, sign=True)} and above" if k == len(edges) - 2 else f"{low} {high}"


def _digits(span: float) -> int:
    return max(0, min(6, 2 - math.floor(math.log10(span)))) if span > 0 else 2


def _quantiles(values: np.ndarray, digits: int) -> list[str]:
    if not len(values):
        return ["–"] * len(QUANTILES)
    return [number(q, digits, sign=True) for q in np.quantile(values, QUANTILES).tolist()]


def _lengths(results: Results) -> pl.DataFrame | None:
    """Return, by pair, how many bytes longer the chosen answer is; None when the pairs were deleted."""
    runs = [run for by_seed in results.by_run("train").values() for run in by_seed.values()]
    held_out = (results.by_directory(run.manifest.inputs.get("held_out_preferences")) for run in runs)
    files = next((artifact.files("rows") for artifact in held_out if artifact is not None), [])
    if not files:
        return None

    def size(column: str) -> pl.Expr:
        return pl.col(column).list.eval(pl.element().struct.field("content").str.len_bytes()).list.sum().cast(pl.Int64)

    frame = pl.scan_parquet(files).select(document="id", longer=size("chosen") - size("rejected"))
    return frame.unique("document").collect()


def _by_length(frame: pl.DataFrame, lengths: pl.DataFrame | None) -> dict[str, str]:
    if lengths is None:
        return {"chosen_longer": "", "chosen_shorter": ""}
    both = frame.join(lengths, on="document", how="inner")
    conditions = {"chosen_longer": pl.col("longer") > 0, "chosen_shorter": pl.col("longer") < 0}
    sides = {name: both.filter(condition)["correct"] for name, condition in conditions.items()}
    return {name: f"{units.share(float(side.sum()), len(side))} of {len(side):,}" for name, side in sides.items()}
