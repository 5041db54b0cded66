"""Statistics of a corpus by source and by domain: histograms and summaries of everything that was measured.

Histogram bins are an eighth of an octave wide (lower edges 2^(k/8), negative values mirrored, zero a bin of its own),
so that the same bins fit counts and shares, shards and corpora can be added up, and any quantile is known within 9 %.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import polars as pl
import pyarrow.parquet as pq
from pydantic import Field

from windtunnel.pipelines.shards.reader import ShardWork, batches
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.work import Counts

STEPS = 8  # bins an octave
OTHER = "(other)"
GROUPS = ("source", "domain")
KEYS = ("group", "key", "fate", "measure")
PREFIX = "measure:"  # keeps measured columns apart from `source` and `domain`
ROWS = 1 << 14  # documents at once: about 50 MB with forty measures
_NAMES = dict.fromkeys(KEYS, pl.String())
HISTOGRAM = pl.Schema({**_NAMES, "low": pl.Float64(), "documents": pl.Int64()})
_MOMENTS = dict.fromkeys(("sum", "squares", "low", "high"), pl.Float64())
SUMMARY = pl.Schema({**_NAMES, "documents": pl.Int64(), "missing": pl.Int64(), **_MOMENTS})


class Statistics(ShardWork):
    """Write `histograms.parquet` and `summary.parquet` of a corpus, one shard a task. Input: `corpus`.

    histograms: group (`source` or `domain`), key (its name), fate (`kept` or `dropped`), measure, low (the bin's edge
    nearer to zero), documents. summary: the same keys with documents, missing, mean, deviation, low, high. The domain
    is the address's host without `www.`; beyond the `domains` with the most documents they are one, `(other)`.
    Memory: one batch, the histograms of one shard, and at the end those of all shards, about 50 bytes a bin.
    """

    shards_of: ClassVar[tuple[str, str]] = ("corpus", "kept")
    domains: int = Field(default=1000, gt=0)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        histogram, summary, seen = HISTOGRAM.to_frame(), SUMMARY.to_frame(), 0
        for fate in ("kept", "dropped"):
            for frame in _batches(inputs["corpus"].files(fate)[rank]):
                long = _long(frame, fate)
                histogram = _added(pl.concat([histogram, _histogram(long)]))
                summary = _joined(pl.concat([summary, _summary(long)]))
                seen += frame.height
        for name, whole in (("histograms", histogram), ("summaries", summary)):
            with writing(out / "shards" / name / f"{rank:05d}.parquet") as path:
                whole.sort(whole.columns[:5]).write_parquet(path)
        return Counts(seen=seen, kept=seen).check(f"stats, shard {rank}")

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        summaries = pl.concat([pl.read_parquet(file) for file in sorted((out / "shards" / "summaries").glob("*"))])
        few = self._few(summaries)
        whole = (
            _joined(summaries.with_columns(_key(few)))
            .with_columns(mean=pl.col("sum") / pl.col("documents"))
            .with_columns(deviation=_deviation())
            .select(*KEYS, "documents", "missing", "mean", "deviation", "low", "high")
            .sort(KEYS)
        )
        files = sorted((out / "shards" / "histograms").glob("*"))
        bins = pl.concat([pl.read_parquet(file) for file in files])
        bins = _added(bins.with_columns(_key(few))).sort(*KEYS, "low")
        for name, frame in (("summary", whole), ("histograms", bins)):
            with writing(out / f"{name}.parquet") as path:
                frame.write_parquet(path)

    def _few(self, summaries: pl.DataFrame) -> list[str]:
        """Return the domains with the most documents; equal ones by name."""
        return (
            summaries.filter(pl.col("group") == "domain")
            .group_by("key", "measure")
            .agg(documents=pl.sum("documents") + pl.sum("missing"))
            .group_by("key")
            .agg(pl.max("documents"))
            .sort("documents", "key", descending=[True, False])
            .head(self.domains)["key"]
            .to_list()
        )


def bin_low() -> pl.Expr:
    """Return the edge nearer to zero of the bin of `value`."""
    size = pl.col("value").abs()
    edge = pl.lit(2.0).pow((size.log(2) * STEPS + 1e-9).floor() / STEPS)
    return pl.when(size == 0).then(0.0).otherwise(edge * pl.col("value").sign()).alias("low")


def _batches(file: Path) -> Iterator[pl.DataFrame]:
    """Yield source, domain and the measured numbers of a shard's documents, as float64 (truth as 0 and 1)."""
    host = pl.col("url").str.extract(r"^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/@?#]*@)?([^/:?#]+)").str.to_lowercase()
    names = [name for name in ("source", "url", "why") if name in pq.read_schema(file).names]
    for batch in batches(file, names, ROWS):
        frame = pl.DataFrame(batch)
        why = frame.schema.get("why")
        measured = [
            pl.col("why").struct.field(field.name).cast(pl.Float64).alias(PREFIX + field.name)
            for field in (why.fields if isinstance(why, pl.Struct) else ())
            if (field.dtype.is_numeric() or field.dtype == pl.Boolean) and not field.name.endswith("_cluster")
        ]
        yield frame.select("source", host.str.strip_prefix("www.").alias("domain"), *measured)


def _long(frame: pl.DataFrame, fate: str) -> pl.DataFrame:
    """Return one row for every document, group and measure; documents without an address have no domain."""
    measured = [name for name in frame.columns if name.startswith(PREFIX)]
    parts = [
        frame.filter(pl.col(group).is_not_null())
        .select(pl.col(group).alias("key"), *measured)
        .unpivot(measured, index="key", variable_name="measure", value_name="value")
        .select(
            pl.lit(group).alias("group"),
            "key",
            pl.lit(fate).alias("fate"),
            pl.col("measure").str.strip_prefix(PREFIX),
            pl.col("value").cast(pl.Float64),
        )
        for group in GROUPS
    ]
    return pl.concat(parts).with_columns(pl.when(pl.col("value").is_finite()).then("value"))


def _histogram(long: pl.DataFrame) -> pl.DataFrame:
    known = long.filter(pl.col("value").is_not_null()).with_columns(bin_low())
    return known.group_by(*KEYS, "low").agg(pl.len().cast(pl.Int64).alias("documents"))


def _added(parts: pl.DataFrame) -> pl.DataFrame:
    """Return histograms added up."""
    return parts.group_by(*KEYS, "low").agg(pl.sum("documents"))


def _summary(long: pl.DataFrame) -> pl.DataFrame:
    value = pl.col("value")
    return long.group_by(KEYS, maintain_order=True).agg(  # sums in the order of rows: the same bits on any machine
        value.count().cast(pl.Int64).alias("documents"),
        value.null_count().cast(pl.Int64).alias("missing"),
        value.sum().alias("sum"),
        value.pow(2).sum().alias("squares"),
        value.min().alias("low"),
        value.max().alias("high"),
    )


def _joined(parts: pl.DataFrame) -> pl.DataFrame:
    """Return summaries put together."""
    sums = pl.sum("documents", "missing", "sum", "squares")
    return parts.group_by(KEYS, maintain_order=True).agg(sums, pl.min("low"), pl.max("high"))


def _key(few: list[str]) -> pl.Expr:
    known = (pl.col("group") != "domain") | pl.col("key").is_in(few)
    return pl.when(known).then("key").otherwise(pl.lit(OTHER)).alias("key")


def _deviation() -> pl.Expr:
    """Return the standard deviation over documents; null for fewer than two."""
    n = pl.col("documents")
    spread = (pl.col("squares") - n * pl.col("mean").pow(2)).clip(lower_bound=0) / (n - 1)
    return pl.when(n > 1).then(spread.sqrt())
