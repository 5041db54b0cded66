"""Effects of data: the paired difference of each mix and the baseline over seeds, with an interval and a verdict.

The compare step and `windtunnel effects` call it. trainer.stats.verdicts defines the outcomes; `direction` is reported
with the verdict `undecided`. An undecided effect has estimates of the seeds and documents that it needs, and of the
smallest effect that these runs would have decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import polars as pl

from windtunnel.schemas.results import Effect, Outcome
from windtunnel.trainer.stats.documents import Units, units_of
from windtunnel.trainer.stats.interim_analyses import Level, Spending, level_of
from windtunnel.trainer.stats.intervals import (
    RESOLUTION,
    Errors,
    Interval,
    all_alike,
    errors_of,
    interval,
    reach,
)
from windtunnel.trainer.stats.outliers import diverged, outlier_note
from windtunnel.trainer.stats.paired import BITS_PER_BYTE, Metric, Panel, panel
from windtunnel.trainer.stats.seeds_needed import Needed, needed
from windtunnel.trainer.stats.verdicts import holm, outcome_of

FIRST_SCREEN = 3  # seeds: the minimum for a useful estimate of the spread
FEWEST_NAMED = 10  # effective documents (Kish) of a source that a sentence may name


class Judging(TypedDict, total=False):
    """Keyword arguments of `panel_effects` that say at which level results are judged."""

    level: float
    looks: Sequence[int]
    spending: Spending
    after: Sequence[int]


class Options(Judging, total=False):
    """Keyword arguments of `panel_effects`."""

    margin: float | None


@dataclass(frozen=True)
class Measured:
    """The difference of one mix and the baseline: `errors` is None where every document differs by the same."""

    interval: Interval
    errors: Errors | None
    equal: bool


def effects(
    scores: pl.DataFrame, baseline: str, *, metric: Metric = BITS_PER_BYTE, **options: Unpack[Options]
) -> list[Effect]:
    """Return one effect per mix other than the baseline, in the order of the table.

    `scores` has the columns `mix, seed, document`, optionally `source` and `group` (documents of one origin, which are
    one sampling unit), and those of the metric; `options` are those of `panel_effects`. Memory: 8 bytes per row.
    Raises InputError for scores that cannot be paired, RecipeError for an unknown baseline.
    """
    return panel_effects(panel(scores, baseline, metric), **options)


def panel_effects(
    scores: Panel,
    *,
    margin: float | None = None,
    level: float = 0.95,
    looks: Sequence[int] = (),
    spending: Spending = "power",
    after: Sequence[int] = (),
) -> list[Effect]:
    """Return one effect per mix other than the baseline.

    `margin` is in units of the metric; `level` is the coverage of the intervals over all looks; `looks` declares
    interim analyses as numbers of seeds (empty: a single analysis); `after` names the numbers of seeds at which the
    result was looked at without a declaration. Raises InputError after the last look, RecipeError for looks that
    cannot be.
    """
    return joint_effects([scores], margin=margin, level=level, looks=looks, spending=spending, after=after)


def joint_effects(panels: Sequence[Panel], *, margin: float | None = None, **options: Unpack[Judging]) -> list[Effect]:
    """Return one effect per panel and mix other than the baseline, corrected over all of them (Holm).

    The options are those of `panel_effects`.
    """
    levels = [level_of(len(scores.seeds), **options) for scores in panels]
    all_units = [units_of(scores) if len(scores.seeds) > 1 else None for scores in panels]
    found = [
        (scores, k, at, units, _measured(scores, units, k, at.alpha, margin or 0.0))
        for scores, at, units in zip(panels, levels, all_units, strict=True)
        if units is not None
        for k in range(1, len(scores.mixes))
    ]
    p_zero, p_margin = (holm([getattr(m.interval, p) for *_, m in found]) for p in ("p", "p_margin"))
    judged = {
        (id(scores), k): _judged(scores, units, k, m, at, (zero, beyond), len(found), margin)
        for (scores, k, at, units, m), zero, beyond in zip(found, p_zero, p_margin, strict=True)
    }
    return [
        judged[id(scores), k] if len(scores.seeds) > 1 else _unreplicated(scores, k, margin, at)
        for scores, at in zip(panels, levels, strict=True)
        for k in range(1, len(scores.mixes))
    ]


def _judged(
    scores: Panel,
    units: Units,
    k: int,
    m: Measured,
    at: Level,
    p: tuple[float, float],
    tests: int,
    margin: float | None,
) -> Effect:
    """Return the effect of mix `k` with its outcome; `p` are corrected over `tests` comparisons."""
    outcome: Outcome = "undecided"
    nothing = _nothing_to_decide(scores, units, k, m, at)
    if not nothing or m.equal:
        outcome = outcome_of(m.interval, *p, at.alpha, margin, scores.metric.direction)
    open_ = outcome in ("undecided", "direction") and (not nothing or at.waiting is not None)
    more = _needed(scores, units, m, at, tests, margin) if open_ else None
    notes = [_why_undecided(m, at, outcome, p[0], tests), more.note if more else ""]
    note = "; ".join(filter(None, [nothing, *notes, _apart(scores, k)]))
    return _effect(scores, k, m, p, outcome, more, margin, at, note)


def effects_by_source(scores: Panel, margin: float | None = None, **options: Unpack[Judging]) -> pl.DataFrame:
    """Return the mix x source matrix, with one row per mix (including the baseline) and source.

    Columns: mix, source, documents, bytes (sum of weights), seeds, value, seed_sd, effect, low, high,
    effective_documents (Kish), p, p_holm, named. The intervals are those of single cells. A cell is `named` in a
    sentence if its p for a difference of at most the margin holds after Holm's correction over all cells, and the
    source has at least FEWEST_NAMED effective documents; sources with fewer have no p_holm.
    """
    at = level_of(len(scores.seeds), **options)
    rows = [row for source in scores.sources for row in _cells(scores.only(source), at, margin or 0.0)]
    tested = [row for row in rows if row["p"] is not None and row["effective_documents"] >= FEWEST_NAMED]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row |= {"p_holm": p, "named": p < at.alpha and at.waiting is None}
    types: dict[str, Any] = dict.fromkeys(("seed_sd", "low", "high", "p", "p_holm"), pl.Float64)
    return pl.DataFrame(rows, schema_overrides=types)


def contract(effects: Sequence[Effect]) -> list[dict[str, Any]]:
    """Return the JSON output of `windtunnel effects --json`."""
    return [effect.contract() for effect in effects]


def _cells(part: Panel, at: Level, margin: float) -> list[dict[str, Any]]:
    """Return the rows of one source; `p` is for a difference of at most the margin."""
    values, units = part.by_run(), units_of(part)
    many = len(part.seeds) > 1
    rows = []
    for k, mix in enumerate(part.mixes):
        cell = _measured(part, units, k, at.alpha, margin).interval if k > 0 and many else None
        rows.append(
            {
                "mix": mix,
                "source": part.sources[0],
                "documents": len(part.documents),
                "bytes": float(part.weights.sum()),
                "seeds": len(part.seeds),
                "value": float(values[k].mean()),
                "seed_sd": float(values[k].std(ddof=1)) if many else None,
                "effect": float((values[k] - values[0]).mean()),
                "low": cell.low if cell else None,
                "high": cell.high if cell else None,
                "effective_documents": float(units.kish),
                "p": cell.p_margin if cell else None,
                "p_holm": None,
                "named": False,
            }
        )
    return rows


def _measured(scores: Panel, units: Units, k: int, alpha: float, margin: float) -> Measured:
    """Return the difference of mix `k` and the baseline with its interval."""
    differences, span = scores.values[k] - scores.values[0], scores.metric.span
    equal = not differences.any()
    if span is not None and bool((differences == differences.flat[0]).all()):
        return Measured(all_alike(float(differences.flat[0]), units.count, span, alpha, margin), None, equal)
    by_run = differences.sum(axis=1) / scores.weights.sum()
    size = scores.values[0].sum(axis=1).mean() / scores.weights.sum()
    errors = errors_of(by_run, units.variances(differences), units.degrees, size)
    return Measured(interval(errors, alpha, margin), errors, equal)


def _needed(scores: Panel, units: Units, m: Measured, at: Level, tests: int, margin: float | None) -> Needed:
    documents = len(scores.documents)
    if m.errors is None:  # the documents are all alike: more seeds would say the same
        few = "every document says the same, and there are too few documents to rule out others"
        return Needed(None, None, None, None, (m.interval.high - m.interval.low) / 2, few)
    if m.equal or units.count < 2:
        return Needed(None, None, None, None, None)
    return needed(m.errors, at, documents, tests, margin or None)


def _nothing_to_decide(scores: Panel, units: Units, k: int, m: Measured, at: Level) -> str:
    """Return why the scores allow no verdict, whatever they are; empty where they do."""
    if names := diverged(scores, k):
        return f"{names} scored worse than a uniform guess of every byte: the run diverged, so there is no verdict"
    if m.equal and m.errors is not None:
        return "the scores are equal to the last digit in every run: these are the same runs, or the same data"
    if at.waiting is not None:
        return f"the next declared look is at {at.waiting} seeds; nothing is decided before"
    if units.count < 2:
        what = "one held-out document" if len(scores.documents) < 2 else "held-out documents of one origin"
        return f"{what} shows nothing about others, so there is no verdict"
    resolution = RESOLUTION * abs(float(scores.by_run()[0].mean()))
    if m.errors is None or float(m.errors.seed) > 1.001 * resolution:
        return ""
    if scores.metric.span is None and abs(m.interval.effect) <= 1.001 * resolution:  # shares of items are exact
        return "the difference is below the resolution of a sum of 32-bit numbers"
    if scores.metric.weight and not m.equal:
        return (
            "the difference is the same at every seed to the last digit, which runs of their own never give: look "
            "whether seeds reached the training"
        )
    return ""


def _why_undecided(m: Measured, at: Level, outcome: Outcome, p_holm: float, tests: int) -> str:
    if outcome == "undecided" and at.waiting is None and m.interval.p < at.alpha <= p_holm:
        return f"its own interval leaves zero out, but not after Holm's correction over {tests} comparisons"
    return ""


def _apart(scores: Panel, k: int) -> str:
    return outlier_note(scores, k, RESOLUTION * abs(float(scores.by_run()[0].mean())))


def _by_sources(scores: Panel, k: int, i: Interval, alpha: float) -> dict[str, float | None]:
    """Return the interval that takes the sources, too, as a sample, at least as wide as the one that does not."""
    if len(scores.sources) < 2:
        return {"sources_low": None, "sources_high": None}
    units = units_of(scores, clustered=True)
    differences = scores.values[k] - scores.values[0]
    by_run = differences.sum(axis=1) / scores.weights.sum()
    errors = errors_of(by_run, units.variances(differences), units.degrees)
    half = float(reach(errors, alpha))
    return {"sources_low": min(i.low, i.effect - half), "sources_high": max(i.high, i.effect + half)}


def _unreplicated(scores: Panel, k: int, margin: float | None, at: Level) -> Effect:
    """Return an effect without an interval, since one seed gives no estimate of the spread."""
    note = "one seed shows no spread, so there is no interval and no verdict"
    first = next((look.seeds for look in at.plan), FIRST_SCREEN)
    more = Needed(first, None, None, None, None)
    return _effect(scores, k, None, (None, None), "undecided", more, margin, at, note)


def _effect(
    scores: Panel,
    k: int,
    m: Measured | None,
    p: tuple[float | None, float | None],
    outcome: Outcome,
    more: Needed | None,
    margin: float | None,
    at: Level,
    note: str,
) -> Effect:
    by_run = scores.by_run()[[0, k]]
    parts = ("low", "high", "p", "seed_error", "document_error", "degrees", "t_low", "t_high")
    return Effect(
        mix=scores.mixes[k],
        baseline=scores.mixes[0],
        metric=scores.metric.name,
        direction=scores.metric.direction,
        value=float(by_run[1].mean()),
        baseline_value=float(by_run[0].mean()),
        effect=float((by_run[1] - by_run[0]).mean()),
        interval=round(1 - at.alpha, 12),
        seeds=len(scores.seeds),
        documents=len(scores.documents),
        sources=len(scores.sources),
        verdict="undecided" if outcome == "direction" else outcome,
        outcome=outcome,
        seeds_needed=more.seeds if more else None,
        seeds_needed_low=more.low if more else None,
        seeds_needed_high=more.high if more else None,
        documents_needed=more.documents if more else None,
        smallest_visible=more.visible if more else None,
        margin=margin or None,
        p_holm=p[0],
        p_margin=p[1] if margin else None,
        equal=m.equal if m else False,
        looks=[look.seeds for look in at.plan],
        after=list(at.after),
        note=note,
        withheld="",
        reference=False,
        **(_by_sources(scores, k, m.interval, at.alpha) if m else {}),
        **{name: getattr(m.interval, name) if m else None for name in parts},
    )
