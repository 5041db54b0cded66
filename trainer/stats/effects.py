"""Effects of data: the paired difference of each mix and the baseline over seeds, with an interval and a verdict.

The compare step and `windtunnel effects` call it. `better` and `worse` require a p value below the level after Holm's
correction over the mixes. `equivalent` requires the whole interval within the margin and takes precedence, because
differences within the margin are irrelevant even if significant. Otherwise the verdict is `undecided`, with an estimate
of the number of seeds needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import polars as pl

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.results import Effect, Verdict
from windtunnel.trainer.stats.interim_analyses import Look, Spending, boundary
from windtunnel.trainer.stats.intervals import Interval, Resampled, all_alike, interval, resample
from windtunnel.trainer.stats.paired import BITS_PER_BYTE, Metric, Panel, panel, read_scores
from windtunnel.trainer.stats.seeds_needed import seeds_needed

FIRST_SCREEN = 3  # seeds: the minimum for a useful estimate of the spread


class Options(TypedDict, total=False):
    """Keyword arguments of `panel_effects`."""

    margin: float | None
    level: float
    looks: Sequence[int]
    spending: Spending
    draws: int
    seed: int


def effects(
    scores: pl.DataFrame, baseline: str, *, metric: Metric = BITS_PER_BYTE, **options: Unpack[Options]
) -> list[Effect]:
    """Return one effect per mix other than the baseline, in the order of the table.

    `scores` has the columns `mix, seed, document`, optionally `source` and `group` (documents of one origin, which are
    resampled together), and those of the metric; `options` are those of `panel_effects`. Memory: 8 bytes per row.
    Raises InputError for scores that cannot be paired, RecipeError for an unknown baseline.
    """
    return panel_effects(panel(scores, baseline, metric), **options)


def effects_of_file(path: Path, baseline: str, margin: float | None = None) -> list[Effect]:
    """Return the effects in bits per byte from a table of scores (CSV, Parquet or JSON Lines)."""
    return effects(read_scores(path), baseline, margin=margin)


def panel_effects(
    scores: Panel,
    *,
    margin: float | None = None,
    level: float = 0.95,
    looks: Sequence[int] = (),
    spending: Spending = "obrien_fleming",
    draws: int = 2000,
    seed: int = 0,
) -> list[Effect]:
    """Return one effect per mix other than the baseline.

    `margin` is in units of the metric; `level` is the coverage of the intervals; `looks` declares interim analyses as
    numbers of seeds (empty: a single analysis); `draws` and `seed` configure the bootstrap.
    """
    alpha = 1 - level
    plan = boundary(tuple(looks), round(alpha, 12), spending) if looks else ()
    look = _look(plan, len(scores.seeds))
    by_run = scores.by_run()
    if len(scores.seeds) < 2:
        return [_unreplicated(scores, by_run, k, margin, level) for k in range(1, len(scores.mixes))]
    drawn = resample(scores, draws, seed)
    at = look.level if look else alpha
    intervals = [_interval(scores, by_run, drawn, k, at, seed) for k in range(1, len(scores.mixes))]
    corrected = holm([i.p for i in intervals])
    results = []
    for k, (i, p_holm) in enumerate(zip(intervals, corrected, strict=True), start=1):
        verdict = _verdict(i, p_holm, at, margin, scores.metric.direction)
        if look is not None and look.seeds != len(scores.seeds):
            verdict = "undecided"  # no decision is allowed between two looks
        needed, note = None, ""
        if verdict == "undecided":
            tests = len(intervals)
            needed, note = seeds_needed(i, drawn.degrees, len(scores.seeds), alpha, tests, margin, plan)
            note = _why_undecided(i, p_holm, at, tests, look, len(scores.seeds)) or note
        results.append(_effect(scores, by_run, k, i, p_holm, verdict, needed, margin, level, note))
    return results


def effects_by_source(scores: Panel, draws: int = 2000, seed: int = 0, level: float = 0.95) -> pl.DataFrame:
    """Return the mix x source matrix, with one row per mix (including the baseline) and source.

    Columns: mix, source, documents, bytes (sum of weights), seeds, value, seed_sd, effect, low, high. The intervals are
    not corrected for multiple comparisons: the matrix is descriptive, the verdict is that of the overall effect.
    """
    rows = []
    for source in scores.sources:
        part = scores.only(source)
        values = part.by_run()
        many = len(part.seeds) > 1
        drawn = resample(part, draws, seed) if many else None
        for k, mix in enumerate(part.mixes):
            cell = None
            if k > 0 and drawn is not None:
                cell = _interval(part, values, drawn, k, 1 - level, seed)
            rows.append(
                {
                    "mix": mix,
                    "source": source,
                    "documents": len(part.documents),
                    "bytes": float(part.weights.sum()),
                    "seeds": len(part.seeds),
                    "value": float(values[k].mean()),
                    "seed_sd": float(values[k].std(ddof=1)) if many else None,
                    "effect": float((values[k] - values[0]).mean()),
                    "low": cell.low if cell else None,
                    "high": cell.high if cell else None,
                }
            )
    types = {"seed_sd": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return pl.DataFrame(rows, schema_overrides=types)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected by Holm's step-down procedure (1979), in the same order."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected.tolist()


def contract(effects: Sequence[Effect]) -> list[dict[str, Any]]:
    """Return the JSON output of `windtunnel effects --json`."""
    return [effect.contract() for effect in effects]


def _interval(scores: Panel, by_run: np.ndarray, drawn: Resampled, k: int, alpha: float, seed: int) -> Interval:
    """Return the interval of the difference of mix `k` and the baseline."""
    differences, span = scores.values[k] - scores.values[0], scores.metric.span
    if span is not None and bool((differences == differences.flat[0]).all()):
        groups = len(np.unique(scores.groups()))  # documents of one group count once
        return all_alike(float(differences.flat[0]), groups, span, len(scores.seeds), alpha)
    return interval(by_run[k] - by_run[0], drawn.values[k] - drawn.values[0], drawn.degrees, alpha, seed)


def _look(plan: tuple[Look, ...], seeds: int) -> Look | None:
    """Return the look at this number of seeds, or the next one."""
    if not plan:
        return None
    if seeds > plan[-1].seeds:
        raise InputError(
            f"the looks end at {plan[-1].seeds} seeds and there are {seeds}: the error probability is spent; "
            "declare more looks before running, or use the first seeds only"
        )
    return next(look for look in plan if look.seeds >= seeds)


def _verdict(i: Interval, p_holm: float, alpha: float, margin: float | None, direction: str) -> Verdict:
    if margin and -margin <= i.low and i.high <= margin:
        return "equivalent"
    if p_holm < alpha:
        return "better" if (i.effect < 0) == (direction == "lower") else "worse"
    return "undecided"


def _why_undecided(i: Interval, p_holm: float, alpha: float, tests: int, look: Look | None, seeds: int) -> str:
    if look is not None and look.seeds != seeds:
        return f"the next declared look is at {look.seeds} seeds; nothing is decided before"
    if i.p < alpha <= p_holm:
        return f"its own interval leaves zero out, but not after Holm's correction over {tests} mixes"
    return ""


def _unreplicated(scores: Panel, by_run: np.ndarray, k: int, margin: float | None, level: float) -> Effect:
    """Return an effect without an interval, since one seed gives no estimate of the spread."""
    note = "one seed shows no spread, so there is no interval and no verdict"
    return _effect(scores, by_run, k, None, None, "undecided", FIRST_SCREEN, margin, level, note)


def _effect(
    scores: Panel,
    by_run: np.ndarray,
    k: int,
    i: Interval | None,
    p_holm: float | None,
    verdict: Verdict,
    needed: int | None,
    margin: float | None,
    level: float,
    note: str,
) -> Effect:
    parts = ("low", "high", "p", "seed_error", "document_error", "degrees")
    plain = ("t_low", "t_high", "bootstrap_low", "bootstrap_high")
    return Effect(
        mix=scores.mixes[k],
        baseline=scores.mixes[0],
        metric=scores.metric.name,
        direction=scores.metric.direction,
        value=float(by_run[k].mean()),
        baseline_value=float(by_run[0].mean()),
        effect=float((by_run[k] - by_run[0]).mean()),
        interval=level,
        seeds=len(scores.seeds),
        documents=len(scores.documents),
        sources=len(scores.sources),
        verdict=verdict,
        seeds_needed=needed,
        margin=margin or None,
        p_holm=p_holm,
        note=note,
        **{name: getattr(i, name) if i else None for name in (*parts, *plain)},
    )
