"""Measure: every column that rules decide from, in one pass over the documents."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pyarrow as pa

from windtunnel.pipelines.features.settings import Settings
from windtunnel.pipelines.features.shared import features
from windtunnel.pipelines.filters._columns import check_names
from windtunnel.pipelines.filters._rule import Rule, own_columns
from windtunnel.pipelines.scorers.score_histogram import ScoreHistogram
from windtunnel.pipelines.shards.reader import MOST_ROWS, Shard, ShardWork, batches
from windtunnel.pipelines.shards.writer import shard_writer
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.plugin import make
from windtunnel.schemas.work import Counts

READ = ("id", "text", "source", "url", "lang")


class Measure(ShardWork):
    """Compute the shared columns and those of rules that measure for themselves.

    Inputs: documents, and decisions when there are any: documents already dropped are not measured (their row is
    null). Output: `measures/NNNNN.parquet`, row-aligned with the documents shard.
    """

    version: ClassVar[int] = 2  # raised whenever shared columns come out differently
    settings: Settings
    rules: tuple[dict[str, Any], ...] = ()
    files: dict[str, str] = {}  # noqa: RUF012 (pydantic copies it) - path and blake3 of what the rules read

    def plugins(self) -> list[Rule]:
        return [built(spec) for spec in self.rules]

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        rules = [rule.bound(inputs) for rule in self.plugins()]
        shard = Shard(inputs, rank)
        read = (*READ, "meta") if any(rule.reads_meta for rule in rules) else READ
        columns = [name for name in read if name in shard.schema.names]
        counts, writer = Counts(), None
        with ExitStack() as stack:
            for batch in shard.batches(columns) if shard.rows else [shard.empty(columns)]:
                table = measured(batch.rows, self.settings, rules, batch.alive)
                if writer is None:
                    writer = stack.enter_context(shard_writer(out, "measures", rank, table.schema, compression_level=1))
                writer.write_table(table)
                alive = int(batch.alive.sum())
                counts.seen += alive
                counts.kept += alive
                counts.bytes += batch.rows.column("text").nbytes
        return counts.check(f"measure, shard {rank}")

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        """Write `histograms/COLUMN.parquet` of the scores that rules cut a top share of: all shards together."""
        owners = {column: rule for rule in self.plugins() for column in rule.scores()}
        for name, rule in sorted(owners.items()):
            histogram = ScoreHistogram()
            for path in sorted((out / "measures").glob("*.parquet")):
                for batch in batches(path, [name], MOST_ROWS):
                    values = batch.column(name).drop_null().to_numpy(zero_copy_only=False)
                    histogram.add(rule.as_scores(values))
            histogram.write(out / "histograms" / f"{name}.parquet")


def built(spec: Mapping[str, Any]) -> Rule:
    """Return the rule of a measurement spec `{name: parameters}`."""
    return make(Rule, spec)


def measured(batch: pa.RecordBatch, settings: Settings, rules: list[Rule], keep: np.ndarray | None = None) -> pa.Table:
    """Return the batch's `id` and measured columns; rows where `keep` is false are null."""
    part = batch if keep is None or keep.all() else batch.filter(pa.array(keep))
    frames = [features(part.column("text"), settings), *(own_columns(rule, part) for rule in rules)]
    check_names(frames[0].columns, zip(rules, (frame.columns for frame in frames[1:]), strict=True))
    table = pl.concat(frames, how="horizontal").to_arrow()
    if keep is not None and part.num_rows != batch.num_rows:
        places = np.where(keep, np.cumsum(keep) - 1, 0)
        table = table.take(pa.array(places, mask=~keep))
    return table.add_column(0, "id", batch.column("id")) if "id" in batch.schema.names else table
