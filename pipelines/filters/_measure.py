"""Measure: every column that rules decide from, in one pass over the documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.features.settings import Settings
from windtunnel.pipelines.features.shared import features
from windtunnel.pipelines.filters._rule import Rule
from windtunnel.pipelines.scorers.score_histogram import ScoreHistogram
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.plugin import make
from windtunnel.schemas.work import Counts, Work

BATCH_BYTES = 8 << 20  # about so much text is read and measured at once: memory does not follow the shard's size
MOST_ROWS = 8192
READ = ("id", "text", "source", "url", "lang")


class Measure(Work):
    """Fill the shared columns and those of rules that measure for themselves.

    Inputs: documents, and decisions when there are any: documents already dropped are not measured (their row is
    null). Output: `measures/NNNNN.parquet`, row-aligned with the documents shard.
    """

    version: ClassVar[int] = 2  # raised whenever shared columns come out differently
    settings: Settings
    rules: tuple[dict[str, Any], ...] = ()
    files: dict[str, str] = {}  # noqa: RUF012 (pydantic copies it) - path and blake3 of what the rules read

    def plugins(self) -> list[Rule]:
        return [built(spec) for spec in self.rules]

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["documents"].files("documents"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        source = inputs["documents"].files("documents")[rank]
        prior = alive(inputs["decisions"].files("decisions")[rank]) if "decisions" in inputs else None
        rules = [built(spec).bound(inputs) for spec in self.rules]
        counts, writer, start = Counts(), None, 0
        with writing(out / "measures" / f"{rank:05d}.parquet") as path:
            for batch in batches(source, (*READ, "meta") if any(rule.reads_meta for rule in rules) else READ):
                keep = prior[start : start + batch.num_rows] if prior is not None else None
                start += batch.num_rows
                table = measured(batch, self.settings, rules, keep)
                if writer is None:
                    writer = pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=1)
                writer.write_table(table)
                seen = batch.num_rows if keep is None else int(keep.sum())
                counts.seen += seen
                counts.kept += seen
                counts.bytes += batch.column("text").nbytes
            if writer is None:
                table = measured(
                    pa.record_batch([pa.array([], f) for f in EMPTY.types], schema=EMPTY), self.settings, rules
                )
                writer = pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=1)
                writer.write_table(table)
            writer.close()
        return counts.check(f"measure, shard {rank}")

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        """Write `histograms/COLUMN.parquet` of the scores that rules cut a top share of: all shards together."""
        owners = {column: rule for rule in map(built, self.rules) for column in rule.scores()}
        for name, rule in sorted(owners.items()):
            histogram = ScoreHistogram()
            for path in sorted((out / "measures").glob("*.parquet")):
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(columns=[name]):
                        values = batch.column(name).drop_null().to_numpy(zero_copy_only=False)
                        histogram.add(rule.as_scores(values))
            histogram.write(out / "histograms" / f"{name}.parquet")


EMPTY = pa.schema(
    [("id", pa.string()), ("text", pa.large_string()), *((n, pa.string()) for n in ("source", "url", "lang"))]
)


def built(spec: Mapping[str, Any]) -> Rule:
    """Return the rule of a measurement spec `{name: parameters}`."""
    return make(Rule, spec)


def batches(path: Path, wanted: tuple[str, ...] = READ) -> Iterator[pa.RecordBatch]:
    """Yield the wanted columns that a documents shard has, in record batches of at most `BATCH_BYTES` of text.

    A document that is longer is a batch of its own.
    """
    with pq.ParquetFile(path) as file:
        columns = [name for name in wanted if name in file.schema_arrow.names]
        for group in range(file.metadata.num_row_groups):
            rows = rows_at_once(file.metadata.row_group(group))
            # decoded by the thread that measures: handing each batch to Arrow's pool and back idles a tenth of a core
            for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=columns, use_threads=False):
                yield from bounded(batch)


def rows_at_once(group: pq.RowGroupMetaData) -> int:
    """Return how many rows of a row group have about `BATCH_BYTES`."""
    return max(1, min(MOST_ROWS, BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)))


def bounded(batch: pa.RecordBatch, column: str = "text") -> Iterator[pa.RecordBatch]:
    """Yield slices of a batch of at most `BATCH_BYTES` of text each (or one row)."""
    if batch.column(column).nbytes <= BATCH_BYTES:
        yield batch
        return
    half = batch.num_rows // 2
    if half == 0:
        yield batch
        return
    yield from bounded(batch.slice(0, half), column)
    yield from bounded(batch.slice(half), column)


def measured(batch: pa.RecordBatch, settings: Settings, rules: list[Rule], keep: np.ndarray | None = None) -> pa.Table:
    """Return the batch's `id` and measured columns; rows where `keep` is false are null."""
    part = batch if keep is None or keep.all() else batch.filter(pa.array(keep))
    frames = [features(part.column("text"), settings), *(rule.measure(part) for rule in rules)]
    frame = pl.concat(frames, how="horizontal")
    table = frame.to_arrow()
    if part.num_rows != batch.num_rows and keep is not None:
        places = np.where(keep, np.cumsum(keep) - 1, 0)
        table = table.take(pa.array(places, mask=~keep))
    return table.add_column(0, "id", batch.column("id")) if "id" in batch.schema.names else table


def alive(path: Path) -> np.ndarray:
    """Return which rows of a decisions shard are still kept."""
    return pl.read_parquet(path, columns=["reason"])["reason"].is_null().to_numpy()
