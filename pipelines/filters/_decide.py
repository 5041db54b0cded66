"""Decide: thresholds over measured columns, as polars expressions; no text is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.filters._rule import Rule, columns_of, reasons_of, rules_of, verdict
from windtunnel.pipelines.scorers.score_histogram import ScoreHistogram
from windtunnel.pipelines.shards.reader import ShardWork
from windtunnel.pipelines.shards.writer import REASONS, write_decisions
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.work import Counts

SLICE_ROWS = 1 << 17
LAYOUT = {"compression": {"id": "none", "reason": "lz4", "step": "lz4"}, "write_statistics": REASONS}


class Decide(ShardWork):
    """Decide for each document whether it stays, and record the reason if it does not.

    Inputs: measures, and decisions when there are any: a document dropped before keeps its reason and step. Output:
    `decisions/NNNNN.parquet`, row-aligned with the measures shard.
    """

    shards_of: ClassVar[tuple[str, str]] = ("measures", "measures")
    rules: tuple[dict[str, Any], ...]
    step: str = "rules"

    def plugins(self) -> list[Rule]:
        return [rule for _, rule in rules_of(self.rules)]

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        reasons = reasons_of(self.rules)
        cuts = cuts_of(self.rules, inputs["measures"])
        columns = ["id", *(name for name in columns_of(reasons) if name not in cuts)]
        frame = pl.read_parquet(inputs["measures"].files("measures")[rank], columns=columns)
        frame = frame.with_columns(pl.lit(cut, pl.Float64).alias(name) for name, cut in cuts.items())
        prior = None
        if "decisions" in inputs:
            prior = pq.read_table(inputs["decisions"].files("decisions")[rank], columns=REASONS)
        values = in_slices(frame, verdict(reasons)).to_arrow().cast(pa.string())
        counts = write_decisions(out, rank, frame["id"].to_arrow(), values, self.step, prior, **LAYOUT)
        counts.notes = {name: f"{cut:.9g}" for name, cut in cuts.items()}  # as text: numbers of shards are added up
        return counts.check(f"{self.step}, shard {rank}")


def cuts_of(specs: Sequence[Any], measures: Artifact) -> dict[str, float]:
    """Return the values that rules take from the histograms of all shards, by the column name they are used under."""
    cuts = {name: cut for _, rule in rules_of(specs) for name, cut in rule.cuts().items()}
    histograms = {column: measures.path / "histograms" / f"{column}.parquet" for column, _ in cuts.values()}
    return {name: ScoreHistogram.read(histograms[column]).cut(share) for name, (column, share) in cuts.items()}


def in_slices(frame: pl.DataFrame, expression: pl.Expr) -> pl.Series:
    """Return the expression's value for every row, computed over slices that fit the processor's cache."""
    starts = range(0, max(1, frame.height), SLICE_ROWS)
    parts = [frame.slice(start, SLICE_ROWS).lazy().select(value=expression).collect() for start in starts]
    return pl.concat(parts)["value"]
