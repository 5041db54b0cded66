"""Scores of single items by task and metric, as evaluation tools write them: effects of mixes, and means of one model.

A row is one item scored by one metric: `task, document, metric, value`, `group` (items of one origin; the item itself
by default), `weight` (such as bytes, for a ratio of sums; empty for a mean) and `chance` (the expected value of a
guess, where there is one), and with several models `mix, seed`.
Each task and metric is a comparison of its own, and Holm's correction is over all of them.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Unpack

import numpy as np
import polars as pl

from windtunnel.schemas.errors import InputError, RecipeError, nearest
from windtunnel.schemas.results import Effect
from windtunnel.trainer.stats.documents import Units
from windtunnel.trainer.stats.effects import Options, joint_effects
from windtunnel.trainer.stats.paired import Metric, panel

COLUMNS: dict[str, Any] = {
    "task": pl.String, "document": pl.String, "group": pl.String, "metric": pl.String, "value": pl.Float64,
    "weight": pl.Float64, "chance": pl.Float64,
}  # fmt: skip
NATS_PER_TOKEN = "nats_per_token"
OPTIONAL = ("group", "weight", "chance")
RUN: dict[str, Any] = {"mix": pl.String, "seed": pl.String}
# Names of metrics that are better where they are lower; all others are better where they are higher.
LOWER = ("*bits_per_byte*", "*bpb*", "*perplexity*", "*ppl*", "*loss*", "*nll*", "*nats*", "*error*", "ter", "*brier*")
SHARES = (
    "acc*",
    "*exact_match*",
    "exact",
    "*contains*",
    "*strict*",
    "*loose*",
    "correct",
    "accuracy",
    "f1",
    "probability*",
    "*_accuracy",
    "mcc",
)


class Mean(NamedTuple):
    """The mean of a metric over the items of a task; its interval is None where the items show no spread."""

    task: str
    metric: str
    items: int
    groups: int  # independent items
    value: float
    low: float | None
    high: float | None
    chance: float | None = None  # the mean value of a guess


def direction_of(metric: str) -> Literal["lower", "higher"]:
    """Return which values of a metric are better, by its name."""
    return "lower" if any(fnmatch.fnmatchcase(metric.lower(), pattern) for pattern in LOWER) else "higher"


def typed(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table of scores with the columns and types of this module; group and weight may be missing."""
    needed = {**RUN, **COLUMNS}
    if missing := [name for name in needed if name not in (*table.columns, *OPTIONAL)]:
        have = ", ".join(table.columns) or "none"
        raise InputError(f"the scores lack the column {', '.join(map(repr, missing))}; available columns: {have}")
    columns = [pl.col(name).cast(kind) if name in table.columns else pl.lit(None, kind).alias(name)
               for name, kind in needed.items()]  # fmt: skip
    return table.select(columns).with_columns(pl.col("group").fill_null(pl.col("document")))


def item_effects(scores: pl.DataFrame, baseline: str, **options: Unpack[Options]) -> list[Effect]:
    """Return the effect of each mix on each metric of each task; `metric` is named TASK/METRIC.

    Raises InputError for a task or a metric that some runs lack and for items that cannot be paired, RecipeError for an
    unknown baseline.
    """
    mixes = scores["mix"].unique(maintain_order=True).to_list()
    if baseline not in mixes:
        raise RecipeError(f"no mix is called {baseline!r} in the runs: {nearest(baseline, mixes)}")
    _same_measures(scores)
    panels = []
    for (task, name), part in scores.group_by("task", "metric", maintain_order=True):
        metric = _metric(f"{task}/{name}", str(name), part)
        try:
            named = part if "source" in part.columns else part.with_columns(source="task")
            panels.append(panel(named, baseline, metric))
        except InputError as error:
            raise InputError(f"task {task!r}, {name}: {error}") from error
    return joint_effects(panels, **options)


def selected(scores: pl.DataFrame, wanted: Sequence[str]) -> pl.DataFrame:
    """Return the rows of the metrics that names or patterns mean, all without any. Raises RecipeError."""
    known = scores["metric"].unique(maintain_order=True).to_list()
    for pattern in wanted:
        if not fnmatch.filter(known, pattern):
            raise RecipeError(f"no metric is called {pattern!r}: {nearest(pattern, known)}")
    chosen = [name for name in known if not wanted or any(fnmatch.fnmatchcase(name, part) for part in wanted)]
    return scores.filter(pl.col("metric").is_in(chosen))


def pooled(scores: pl.DataFrame, pools: Mapping[str, str]) -> pl.DataFrame:
    """Return the scores with tasks pooled as one: `pools` are patterns of task names by the name of the whole.

    Every item counts the same; the parts are the sources of its comparison. Raises RecipeError for a pattern that means
    no task.
    """
    table, known = scores.with_columns(source="task"), scores["task"].unique(maintain_order=True).to_list()
    for name, pattern in pools.items():
        parts = fnmatch.filter(known, pattern)
        if not parts:
            raise RecipeError(f"no task is called {pattern!r}: {nearest(pattern, known)}")
        inside = pl.col("task").is_in(parts)
        table = table.with_columns(
            pl.when(inside).then(pl.lit(name)).otherwise("task").alias("task"),
            *(
                pl.when(inside).then(pl.concat_str("source", column, separator=":")).otherwise(column).alias(column)
                for column in ("document", "group")
            ),
        )
    return table


def means(scores: pl.DataFrame, level: float = 0.95) -> list[Mean]:
    """Return the mean of each metric of each task of one model, with a t interval over independent items.

    Mean nats per token are given as perplexities, too. Items of one group count as one. Where all items have the same
    value between 0 and 1, the interval is Clopper and Pearson's; other scores without spread have none. No interval of
    a share leaves [0, 1], and none goes below 0 where no value does.
    """
    parts = scores.group_by("task", "metric", maintain_order=True)
    found = [_mean(str(task), str(metric), part, level) for (task, metric), part in parts]
    return [mean for one in found for mean in ([one, _perplexity(one)] if one.metric == NATS_PER_TOKEN else [one])]


def _perplexity(mean: Mean) -> Mean:
    low, high = (None if end is None else math.exp(end) for end in (mean.low, mean.high))
    return mean._replace(metric="token_perplexity", value=math.exp(mean.value), low=low, high=high)


def _mean(task: str, metric: str, part: pl.DataFrame, level: float) -> Mean:
    values = part["value"].to_numpy()
    weights = part["weight"].fill_null(1.0).to_numpy()
    groups = part["group"].rank("dense").cast(pl.Int64).to_numpy() - 1
    units = Units(weights, groups, np.zeros(len(groups), np.int64))
    value, share = float(values.sum() / weights.sum()), _is_share(metric, part)
    low, high = _interval(units, values, value, level, share)
    known = "chance" in part.columns and not part["chance"].null_count()
    chance = None if not known else float(part["chance"].mean())  # pyright: ignore[reportArgumentType]
    return Mean(task, metric, len(values), units.count, value, low, high, chance)


def _interval(
    units: Units, values: np.ndarray, value: float, level: float, share: bool
) -> tuple[float, float] | tuple[None, None]:
    from scipy import special

    if units.count < 2:
        return None, None
    if share and not np.ptp(values):
        unseen = 1 - ((1 - level) / 2) ** (1 / units.count)
        return value * (1 - unseen), value + (1 - value) * unseen
    variance, _ = units.variances(values[None, :])
    if variance <= (1e-12 * value) ** 2:  # of rounding alone
        return None, None
    t = -float(special.stdtrit(max(1.0, float(units.degrees)), (1 - level) / 2))
    low, high = value - t * math.sqrt(float(variance)), value + t * math.sqrt(float(variance))
    return (max(0.0, low) if (values >= 0).all() else low), (min(1.0, high) if share else high)


def _metric(label: str, name: str, part: pl.DataFrame) -> Metric:
    """Return the metric of a part: a ratio where its rows have weights, a mean otherwise."""
    weight = "weight" if part["weight"].null_count() < part.height else None
    span = 1.0 if weight is None and _is_share(name, part) else None
    loss = name.startswith(("bits_per_", "nats_per_"))
    return Metric(label, "value", weight, 1.0, direction_of(name), name.replace("_", " "), span, unsigned=loss)


def _is_share(name: str, part: pl.DataFrame) -> bool:
    named = any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in SHARES)
    return named and bool(part["value"].is_between(0, 1).all()) and part["weight"].null_count() == part.height


def _same_measures(scores: pl.DataFrame) -> None:
    """Raise InputError for a task or a metric that one run has and another lacks."""
    have = scores.select("mix", "seed", "task", "metric").unique(maintain_order=True)
    runs, measures = have.select("mix", "seed").unique(maintain_order=True), have.select("task", "metric").unique()
    missing = runs.join(measures, how="cross").join(have, on=["mix", "seed", "task", "metric"], how="anti")
    if missing.is_empty():
        return
    tasks = have.select("mix", "seed", "task").unique()
    first = missing.sort("task", "metric").row(0, named=True)
    whole = tasks.filter(
        (pl.col("mix") == first["mix"]) & (pl.col("seed") == first["seed"]) & (pl.col("task") == first["task"])
    ).is_empty()
    what = f"task {first['task']!r}" if whole else f"metric {first['metric']!r} of task {first['task']!r}"
    raise InputError(
        f"mix {first['mix']!r} seed {first['seed']} has no {what}, which other runs have ({missing.height} such gap(s))"
        ": effects are paired, so every run needs the same tasks; run the missing ones, or leave them out"
    )
