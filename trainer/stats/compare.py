"""The comparison: all mixes against the baseline on one frozen evaluation set, from every run's per-document scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
from pydantic import Field

from windtunnel.schemas.artifact import Artifact, write_text, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.results import Comparison, Domain, Effect, MeasuredOn
from windtunnel.schemas.role import by_name, name_in_directory, runs
from windtunnel.schemas.work import Counts, Work
from windtunnel.trainer.stats.effects import effects_by_source, panel_effects
from windtunnel.trainer.stats.interim_analyses import Spending
from windtunnel.trainer.stats.paired import BITS_PER_BYTE, Metric, Panel, mean_of, panel

HELD_OUT = "held_out"
SCORES = "scores.parquet"


class Compare(Work):
    """Reads `scores.parquet` of every run and writes comparison.json, effects.parquet and loss_matrix.parquet.

    `metric` is `bits_per_byte` or the name of a column to average over documents, for which `direction` says which way
    is better. `looks` declares the numbers of seeds at which the answer is looked at; empty: once.
    """

    version: ClassVar[int] = 2
    baseline: str
    metric: str = BITS_PER_BYTE.name
    direction: str = Field(default="lower", pattern="^(lower|higher)$")
    span: float | None = Field(default=None, gt=0)  # the most that two runs can differ by on one document
    interval: float = Field(default=0.95, gt=0.5, lt=1)
    margin: float | None = Field(default=None, ge=0)
    looks: tuple[int, ...] = ()
    spending: Spending = "obrien_fleming"
    draws: int = Field(default=2000, ge=100)
    scores: str = SCORES
    on: str = ""  # what the evaluation set is, in words; taken from the held-out artifact when empty

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        """Compare; in and kept are the documents that every run scored."""
        table = _scores(inputs, self.scores)
        laid_out = panel(table, self.baseline, self._metric())
        found = panel_effects(
            laid_out,
            margin=self.margin,
            level=self.interval,
            looks=self.looks,
            spending=self.spending,
            draws=self.draws,
        )
        matrix = effects_by_source(laid_out, self.draws, level=self.interval)
        on = self.on or describe(inputs.get(HELD_OUT))
        comparison = self._comparison(laid_out, found, on)
        with writing(out / "effects.parquet") as partial:
            pl.DataFrame([effect.model_dump() for effect in comparison.effects], schema=_types()).write_parquet(partial)
        with writing(out / "loss_matrix.parquet") as partial:
            matrix.write_parquet(partial)
        write_text(out / "comparison.json", comparison.model_dump_json(indent=1) + "\n")
        documents = len(laid_out.documents)
        notes = {"runs": len(laid_out.mixes) * len(laid_out.seeds), "rows": table.height}
        return Counts(seen=documents, kept=documents, bytes=comparison.on.bytes, notes={**notes})

    def _metric(self) -> Metric:
        if self.metric == BITS_PER_BYTE.name:
            return BITS_PER_BYTE
        return mean_of(self.metric, "higher" if self.direction == "higher" else "lower", span=self.span)

    def _comparison(self, scores: Panel, found: list[Effect], on: str) -> Comparison:
        by_run = scores.by_run()
        many = len(scores.seeds) > 1
        best_first = sorted(found, key=lambda e: (e.effect if e.direction == "lower" else -e.effect, e.mix))
        return Comparison(
            baseline=self.baseline,
            metric=scores.metric.name,
            unit=scores.metric.unit,
            direction=scores.metric.direction,
            interval=self.interval,
            margin=self.margin or None,
            looks=list(self.looks),
            spending=self.spending if self.looks else "",
            on=measured_on(scores, on),
            seeds=list(scores.seeds),
            values={mix: float(by_run[k].mean()) for k, mix in enumerate(scores.mixes)},
            seed_sd={mix: float(by_run[k].std(ddof=1)) if many else None for k, mix in enumerate(scores.mixes)},
            effects=best_first,
        )


def measured_on(scores: Panel, description: str) -> MeasuredOn:
    """Return what the scores were taken on, by source."""
    domains = [
        Domain(
            name=name,
            documents=int((scores.source == k).sum()),
            bytes=int(scores.weights[scores.source == k].sum()),
        )
        for k, name in enumerate(scores.sources)
    ]
    return MeasuredOn(
        description=description,
        documents=len(scores.documents),
        bytes=int(scores.weights.sum()),
        domains=domains,
    )


def describe(held_out: Artifact | None) -> str:
    """Return in words what a held-out set is made of, from the configuration in its manifest."""
    if held_out is None:
        return "the documents that the runs scored"
    manifest = held_out.manifest
    config: dict[str, Any] = manifest.config
    sets = sorted(by_name(manifest.inputs, "rows"))
    parent = name_in_directory(manifest.inputs.get("corpus", ""))
    if sets:
        what = f"the rows of {' and '.join(sets)}"
        how = "held out with all that shares their origin: no model trains on a question it is measured on"
    else:
        what = "your own files" if parent == HELD_OUT else f"the documents of {parent or 'a corpus'}"
        how = "held out before mixing; near-duplicates of them are kept out of every mix"
    share = config.get("share", 1.0)
    if share < 1:
        what = f"{100 * share:.3g}% of {what}"
    if config.get("where"):
        what += f" where {config['where']}"
    if config.get("documents"):
        what += f", at most {config['documents']:,}"
    return f"{what}, {how}"


def _scores(inputs: Mapping[str, Artifact], file: str) -> pl.DataFrame:
    """Return the scores of all runs with their mix and seed, in the order of the roles."""
    tables = []
    for (mix, seed), run in runs(inputs).items():
        path = run.path / file
        if not path.exists():
            raise InputError(
                f"the run of mix {mix!r}, seed {seed} has no {file}: it was not evaluated; delete {run.path}"
            )
        tables.append(pl.read_parquet(path).with_columns(mix=pl.lit(mix), seed=pl.lit(seed)))
    if not tables:
        raise InputError("there are no runs to compare")
    return pl.concat(tables, how="vertical_relaxed")


def _types() -> dict[str, Any]:
    """Return the columns of effects.parquet: a column of nothing but None keeps its type."""
    text, whole = (
        {"mix", "baseline", "metric", "direction", "verdict", "note"},
        {"seeds", "documents", "sources", "seeds_needed"},
    )
    return {
        name: pl.String if name in text else pl.Int64 if name in whole else pl.Float64 for name in Effect.model_fields
    }
