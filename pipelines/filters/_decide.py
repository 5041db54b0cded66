"""Decide: thresholds over measured columns, as polars expressions; no text is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.filters._rule import Rule, columns_of, reasons_of, rules_of, verdict
from windtunnel.pipelines.scorers.score_histogram import ScoreHistogram
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.records import DECISION
from windtunnel.schemas.work import Counts, Work

SLICE_ROWS = 1 << 17


class Decide(Work):
    """Say of each document whether it stays, and if not, why.

    Inputs: measures, and decisions when there are any: a row dropped before keeps its reason and step. Output:
    `decisions/NNNNN.parquet`, row-aligned with the measures shard.
    """

    rules: tuple[dict[str, Any], ...]
    step: str = "rules"

    def plugins(self) -> list[Rule]:
        return [rule for _, rule in rules_of(self.rules)]

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["measures"].files("measures"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        reasons = reasons_of(self.rules)
        path = inputs["measures"].files("measures")[rank]
        cuts = cuts_of(self.rules, inputs["measures"])
        frame = pl.read_parquet(path, columns=["id", *(name for name in columns_of(reasons) if name not in cuts)])
        frame = frame.with_columns(pl.lit(cut, pl.Float64).alias(name) for name, cut in cuts.items())
        prior = pl.read_parquet(inputs["decisions"].files("decisions")[rank]) if "decisions" in inputs else None
        decided = decisions(frame, verdict(reasons), self.step, prior)
        with writing(out / "decisions" / f"{rank:05d}.parquet") as target:
            write_decisions(decided, target)
        counts = counted(decided, prior)
        counts.notes = {name: f"{cut:.9g}" for name, cut in cuts.items()}  # as text: numbers of shards are added up
        return counts.check(f"{self.step}, shard {rank}")


def cuts_of(specs: Sequence[Any], measures: Artifact) -> dict[str, float]:
    """Return the values that rules take from the histograms of all shards, by the column name they are used under."""
    wanted = {name: cut for _, rule in rules_of(specs) for name, cut in rule.cuts().items()}
    histograms = {column: measures.path / "histograms" / f"{column}.parquet" for column, _ in wanted.values()}
    return {name: ScoreHistogram.read(histograms[column]).cut(share) for name, (column, share) in wanted.items()}


def decisions(frame: pl.DataFrame, reason: pl.Expr, step: str, prior: pl.DataFrame | None) -> pl.DataFrame:
    """Return id, reason and step of every row; rows that `prior` dropped keep their reason and step."""
    decided = frame.select("id").with_columns(reason=in_slices(frame, reason))
    decided = decided.with_columns(step=pl.when(pl.col("reason").is_not_null()).then(pl.lit(step)))
    if prior is None:
        return decided
    gone = prior["reason"].is_not_null()
    return pl.DataFrame(
        {
            "id": decided["id"],
            "reason": prior["reason"].zip_with(gone, decided["reason"]),
            "step": prior["step"].zip_with(gone, decided["step"]),
        }
    )


def in_slices(frame: pl.DataFrame, expression: pl.Expr) -> pl.Series:
    """Return the expression's value for every row, computed over stretches of rows that stay in the cache."""
    starts = range(0, max(1, frame.height), SLICE_ROWS)
    parts = [frame.slice(start, SLICE_ROWS).lazy().select(value=expression).collect() for start in starts]
    return pl.concat(parts)["value"]


def counted(decided: pl.DataFrame, prior: pl.DataFrame | None) -> Counts:
    """Return what a step saw: rows alive before it, split into kept and dropped by reason."""
    fresh = decided if prior is None else decided.filter(prior["reason"].is_null())
    dropped = fresh.filter(pl.col("reason").is_not_null()).group_by("reason").len().sort("reason")
    reasons = dict(zip(dropped["reason"].to_list(), dropped["len"].to_list(), strict=True))
    return Counts(seen=fresh.height, kept=fresh.height - sum(reasons.values()), dropped=reasons)


def write_decisions(decided: pl.DataFrame, target: Path) -> None:
    """Write a decisions shard; ids do not compress, so they are stored as they are, and reasons as a dictionary."""
    table = pa.table({name: decided[name].to_arrow().cast(DECISION.field(name).type) for name in DECISION.names})
    plain = {"id": "none", "reason": "lz4", "step": "lz4"}
    names = ["reason", "step"]
    pq.write_table(table.cast(DECISION), target, compression=plain, use_dictionary=names, write_statistics=names)
