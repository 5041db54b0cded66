"""Statistics by source and domain: counts that add up, bins that hold their values, moments as numpy has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from windtunnel.pipelines.datasets.stats import OTHER, Statistics, bin_low
from windtunnel.schemas.artifact import Artifact


def corpus(folder: Path, rows: pl.DataFrame, shards: int = 1) -> Artifact:
    """Write rows with a `fate` as a corpus's kept and dropped shards."""
    for fate in ("kept", "dropped"):
        (folder / fate).mkdir(parents=True)
        mine = rows.filter(pl.col("fate") == fate).drop("fate")
        for rank in range(shards):
            mine.gather_every(shards, rank).write_parquet(folder / fate / f"{rank:05d}.parquet")
    return Artifact(folder)


def made(artifact: Artifact, out: Path, **params) -> tuple[pl.DataFrame, pl.DataFrame]:
    work = Statistics(**params)
    counts = [work.run({"corpus": artifact}, out, rank) for rank in range(work.shards({"corpus": artifact}))]
    work.finish({"corpus": artifact}, out)
    assert sum(c.kept for c in counts) == sum(c.seen for c in counts)
    return pl.read_parquet(out / "summary.parquet"), pl.read_parquet(out / "histograms.parquet")


@pytest.fixture
def rows() -> pl.DataFrame:
    draw = np.random.default_rng(0)
    n = 400
    words = draw.integers(0, 5000, n)
    urls = [f"https://www.Site{k % 7}.example:80/p/{k}?q=http://else.where" if k % 3 else None for k in range(n)]
    why = [
        {
            "words": int(w),
            "share": None if w % 11 == 0 else w / 5000,
            "cased": bool(w % 2),
            "bytes": 2 * int(w),
            "lang": "en",
            "m_cluster": 1,
        }
        for w in words
    ]
    fates = ["dropped" if w < 1000 else "kept" for w in words]
    table = {"text": ["é" * int(w) for w in words], "source": [f"s{k % 2}" for k in range(n)]}
    return pl.DataFrame({**table, "url": urls, "why": why, "fate": fates})


def test_summaries_are_what_numpy_says(rows, tmp_path):
    summary, _ = made(corpus(tmp_path / "c", rows, shards=3), tmp_path / "out")
    for source in ("s0", "s1"):
        for fate in ("kept", "dropped"):
            mine = rows.filter((pl.col("source") == source) & (pl.col("fate") == fate))
            values = mine["why"].struct.field("share")
            row = summary.filter(
                (pl.col("key") == source) & (pl.col("fate") == fate) & (pl.col("measure") == "share")
            ).row(0, named=True)
            assert (row["documents"], row["missing"]) == (values.count(), values.null_count())
            assert row["mean"] == pytest.approx(values.mean()) and row["deviation"] == pytest.approx(values.std())
            assert (row["low"], row["high"]) == (values.min(), values.max())
    assert set(summary["measure"]) == {"words", "share", "cased", "bytes"}


def test_every_document_stands_in_the_bin_of_its_value(rows, tmp_path):
    _, bins = made(corpus(tmp_path / "c", rows), tmp_path / "out")
    words = bins.filter((pl.col("group") == "source") & (pl.col("measure") == "words"))
    assert words["documents"].sum() == len(rows)
    values = np.sort(rows["why"].struct.field("words").to_numpy())
    placed = np.repeat(words.sort("low")["low"].to_numpy(), words.sort("low")["documents"].to_numpy())
    assert (placed <= values + 1e-9).all() and (values < placed * 2 ** (1 / 8) + 1e-9)[values > 0].all()


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 2.0**0.125, 3.7, -1e-9, 1e12, 1024.0])
def test_a_bin_begins_at_or_before_its_value(value):
    (low,) = pl.DataFrame({"value": [value]}).select(bin_low())["low"]
    assert abs(low) <= abs(value) * (1 + 1e-9)
    assert low * value >= 0 and abs(value) <= abs(low) * 2 ** (1 / 8) * (1 + 1e-9)


def test_domains_are_hosts_and_the_rare_ones_are_one(rows, tmp_path):
    artifact = corpus(tmp_path / "c", rows)
    summary, _ = made(artifact, tmp_path / "out")
    domains = summary.filter(pl.col("group") == "domain")
    assert set(domains["key"]) == {f"site{k}.example" for k in range(7)}
    few, bins = made(artifact, tmp_path / "few", domains=2)
    assert len(set(few.filter(pl.col("group") == "domain")["key"])) == 3
    both = (frame.filter(pl.col("group") == "domain")["documents"].sum() for frame in (domains, few))
    assert len(set(both)) == 1 and OTHER in set(bins["key"])


def test_shards_change_nothing(rows, tmp_path):
    one = made(corpus(tmp_path / "a", rows), tmp_path / "one")
    many = made(corpus(tmp_path / "b", rows, shards=7), tmp_path / "many")
    assert one[1].equals(many[1])
    assert one[0].drop("mean", "deviation").equals(many[0].drop("mean", "deviation"))


def test_a_corpus_without_documents_or_measures_is_no_error(tmp_path):
    empty = pl.DataFrame(schema={"text": pl.String, "source": pl.String, "url": pl.String, "fate": pl.String})
    summary, bins = made(corpus(tmp_path / "c", empty), tmp_path / "out")
    assert summary.is_empty() and bins.is_empty()
