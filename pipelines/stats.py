"""Statistics of a corpus by source and by domain: histograms and summaries of everything that was measured.

Histogram bins are an eighth of an octave wide (lower edges 2^(k/8), negative values mirrored, zero a bin of its own),
so that one rule fits counts and shares alike, shards and corpora can be added up, and any quantile is known within 9 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import polars as pl
from pydantic import Field

from schemas.artifact import Artifact, writing
from schemas.work import Counts, Work

STEPS = 8  # bins an octave
OTHER = "(other)"
GROUPS = ("source", "domain")
KEYS = ("group", "key", "fate", "measure")


class Statistics(Work):
    """Writes `histograms.parquet` and `summary.parquet` of a corpus, one shard a task. Input: `corpus`.

    histograms: group (`source` or `domain`), key (its name), fate (`kept` or `dropped`), measure, low (the bin's edge
    nearer to zero), documents. summary: the same keys with documents, missing, mean, deviation, low, high. The domain
    is the address's host without `www.`; beyond the `domains` with the most documents they are one, `(other)`.
    Resident: the histograms of one shard, and in the end those of all domains, about 50 bytes a bin.
    """

    version: ClassVar[int] = 1
    domains: int = Field(default=1000, gt=0)

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["corpus"].files("kept"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        histograms, summaries, seen = [], [], 0
        for fate in ("kept", "dropped"):
            frame = _measured(inputs["corpus"].files(fate)[rank])
            seen += frame.height
            long = _long(frame, fate)
            histograms.append(_histogram(long))
            summaries.append(_summary(long))
        for name, parts in (("histograms", histograms), ("summaries", summaries)):
            with writing(out / "shards" / name / f"{rank:05d}.parquet") as path:
                pl.concat(parts).write_parquet(path)
        return Counts(seen=seen, kept=seen).check(f"stats, shard {rank}")

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        summaries = pl.concat([pl.read_parquet(file) for file in sorted((out / "shards" / "summaries").glob("*"))])
        few = self._few(summaries)
        whole = (
            summaries.with_columns(_key(few))
            .group_by(KEYS)
            .agg(pl.sum("documents", "missing", "sum", "squares"), pl.min("low"), pl.max("high"))
            .with_columns(mean=pl.col("sum") / pl.col("documents"))
            .with_columns(deviation=_deviation())
            .select(*KEYS, "documents", "missing", "mean", "deviation", "low", "high")
            .sort(KEYS)
        )
        files = sorted((out / "shards" / "histograms").glob("*"))
        bins = (
            pl.concat([pl.read_parquet(file) for file in files])
            .with_columns(_key(few))
            .group_by(*KEYS, "low")
            .agg(pl.sum("documents"))
            .sort(*KEYS, "low")
        )
        for name, frame in (("summary", whole), ("histograms", bins)):
            with writing(out / f"{name}.parquet") as path:
                frame.write_parquet(path)

    def _few(self, summaries: pl.DataFrame) -> list[str]:
        """Return the domains with the most documents; equal ones by name."""
        first = summaries.filter(pl.col("group") == "domain").with_columns(
            whole=pl.col("documents") + pl.col("missing")
        )
        by_measure = first.group_by("key", "measure").agg(pl.sum("whole"))
        return (
            by_measure.group_by("key")
            .agg(pl.max("whole"))
            .sort("whole", "key", descending=[True, False])
            .head(self.domains)["key"]
            .to_list()
        )


def bin_low() -> pl.Expr:
    """Return the edge nearer to zero of the bin of `value`."""
    size = pl.col("value").abs()
    edge = pl.lit(2.0).pow((size.log(2) * STEPS + 1e-9).floor() / STEPS)
    return pl.when(size == 0).then(0.0).otherwise(edge * pl.col("value").sign()).alias("low")


def _measured(file: Path) -> pl.DataFrame:
    """Return source, domain and the measured numbers of a shard's documents, as float64; truth as 0 and 1."""
    frame = pl.scan_parquet(file)
    schema = frame.collect_schema()
    host = pl.col("url").str.extract(r"^[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/@?#]*@)?([^/:?#]+)").str.to_lowercase()
    columns = [pl.col("source"), host.str.strip_prefix("www.").alias("domain")]
    columns.append(pl.col("text").str.len_bytes().cast(pl.Float64).alias("measure:bytes"))
    why = schema.get("why")
    for field in why.fields if isinstance(why, pl.Struct) else ():
        if (field.dtype.is_numeric() or field.dtype == pl.Boolean) and _is_measure(field.name):
            columns.append(pl.col("why").struct.field(field.name).cast(pl.Float64).alias(f"measure:{field.name}"))
    return frame.select(columns).collect()


def _is_measure(name: str) -> bool:
    """Return whether a measured column says something: numbers of clusters do not, and bytes are counted anyway."""
    return name != "bytes" and not name.endswith("_cluster")


def _long(frame: pl.DataFrame, fate: str) -> pl.DataFrame:
    """Return one row for every document, group and measure; documents without an address have no domain."""
    parts = [
        frame.filter(pl.col(group).is_not_null())
        .select(pl.col(group).alias("key"), pl.col("^measure:.*$").name.map(lambda n: n.removeprefix("measure:")))
        .unpivot(index="key", variable_name="measure", value_name="value")
        .select(pl.lit(group).alias("group"), "key", pl.lit(fate).alias("fate"), "measure", "value")
        for group in GROUPS
    ]
    return pl.concat(parts).with_columns(pl.when(pl.col("value").is_finite()).then("value"))


def _histogram(long: pl.DataFrame) -> pl.DataFrame:
    known = long.filter(pl.col("value").is_not_null()).with_columns(bin_low())
    return known.group_by(*KEYS, "low").agg(pl.len().cast(pl.Int64).alias("documents")).sort(*KEYS, "low")


def _summary(long: pl.DataFrame) -> pl.DataFrame:
    value = pl.col("value")
    return (
        long.group_by(KEYS)
        .agg(
            value.count().cast(pl.Int64).alias("documents"),
            value.null_count().cast(pl.Int64).alias("missing"),
            value.sum().alias("sum"),
            value.pow(2).sum().alias("squares"),
            value.min().alias("low"),
            value.max().alias("high"),
        )
        .sort(KEYS)
    )


def _key(few: list[str]) -> pl.Expr:
    known = (pl.col("group") != "domain") | pl.col("key").is_in(few)
    return pl.when(known).then("key").otherwise(pl.lit(OTHER)).alias("key")


def _deviation() -> pl.Expr:
    """Return the standard deviation over documents; null for fewer than two."""
    n = pl.col("documents")
    spread = (pl.col("squares") - n * pl.col("mean").pow(2)).clip(lower_bound=0) / (n - 1)
    return pl.when(n > 1).then(spread.sqrt())
