"""Tables of scores: what is refused, and the words for it."""

from __future__ import annotations

import polars as pl
import pytest

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.trainer.stats.paired import mean_of, panel, read_scores


def table() -> pl.DataFrame:
    rows = [
        {
            "mix": mix,
            "seed": seed,
            "document": f"d{k}",
            "source": f"s{k % 2}",
            "bytes": 100 + k,
            "nats": 150.0 + k + seed,
        }
        for mix in ("raw", "clean")
        for seed in (0, 1, 10)
        for k in range(4)
    ]
    return pl.DataFrame(rows)


def row(mix: str = "clean", seed: int = 1, document: str = "d2") -> pl.Expr:
    return (pl.col("mix") == mix) & (pl.col("seed") == seed) & (pl.col("document") == document)


def test_layout_is_mixes_seeds_documents() -> None:
    found = panel(table(), "clean")
    assert found.mixes == ("clean", "raw")
    assert found.seeds == ("0", "1", "10")  # as numbers, not as text
    assert found.values.shape == (2, 3, 4)
    assert found.weights.tolist() == [100, 101, 102, 103]
    assert found.only("s1").documents.tolist() == ["d1", "d3"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop("nats"), "lack the column 'nats'"),
        (lambda t: t.drop("mix", "seed"), "lack the column 'mix', 'seed'"),
        (lambda t: t.clear(), "no rows"),
        (
            lambda t: t.with_columns(nats=pl.when(row()).then(float("nan")).otherwise("nats")),
            "'nats'.*'clean' seed 1.*'d2'",
        ),
        (lambda t: t.with_columns(nats=pl.when(row()).then(None).otherwise("nats")), "'nats' is empty"),
        (
            lambda t: t.with_columns(nats=pl.when(row()).then(float("inf")).otherwise("nats")),
            "infinite.*'clean' seed 1",
        ),
        (
            lambda t: t.with_columns(nats=pl.when(row()).then(-3.5).otherwise("nats")),
            "negative.*-3.5.*'clean' seed 1.*'d2'",
        ),
        (
            lambda t: t.with_columns(nats=-pl.col("nats")),
            r"Did you pass log-probabilities\? 100% of the rows are negative",
        ),
        (
            lambda t: t.with_columns(
                nats=pl.col("nats") - pl.when((pl.col("mix") == "clean") & (pl.col("seed") == 10)).then(9).otherwise(0)
            ),
            "mix 'clean' has the same scores under seeds 1 and 10",
        ),
        (lambda t: t.with_columns(nats=pl.col("nats").cast(pl.String) + "x"), "'nats'.*not a number"),
        (lambda t: t.with_columns(bytes=pl.when(row()).then(0).otherwise("bytes")), "'bytes'.*above zero"),
        (lambda t: t.with_columns(document=pl.when(row()).then(None).otherwise("document")), "'document' is empty"),
        (lambda t: pl.concat([t, t.filter(row())]), "duplicated.*'clean' seed 1.*'d2'"),
        (lambda t: t.filter(~row()), "'clean' seed 1 scored 3 of 4 documents.*'d2'"),
        (lambda t: t.filter((pl.col("mix") != "clean") | (pl.col("seed") != 1)), "no scores for mix 'clean' seed 1"),
        (lambda t: t.with_columns(bytes=pl.when(row()).then(7).otherwise("bytes")), "'bytes' of document 'd2' differs"),
        (
            lambda t: t.with_columns(source=pl.when(row()).then(pl.lit("x")).otherwise("source")),
            "'source' of document 'd2'",
        ),
    ],
)
def test_scores_that_cannot_be_paired_are_refused_in_words(change, words: str) -> None:
    with pytest.raises(InputError, match=words):
        panel(change(table()), "raw")


def test_an_unknown_baseline_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'clean'"):
        panel(table(), "claen")


def test_files_that_are_no_tables_are_refused_in_words(tmp_path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_scores(tmp_path / "none.csv")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="cannot be read"):
        read_scores(broken)
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    with pytest.raises(InputError, match="cannot be read"):
        read_scores(empty)


def test_names_in_a_file_stay_as_they_are_written(tmp_path) -> None:
    lines = [
        f"{mix},{seed},{name},10,{len(mix + seed)}"
        for mix in ("1", "01")
        for seed in ("2", "2.0")
        for name in ("7", "007")
    ]
    (tmp_path / "scores.csv").write_text("\n".join(["mix,seed,document,bytes,nats", *lines]))
    found = panel(read_scores(tmp_path / "scores.csv"), "01")
    assert (found.mixes, found.seeds, list(found.documents)) == (("01", "1"), ("2", "2.0"), ["007", "7"])


def test_seeds_that_only_look_like_numbers_are_names() -> None:
    rows = [(mix, seed, n) for mix in "ab" for n, seed in enumerate(("--1", "10", "-2", "9"))]
    table = pl.DataFrame([{"mix": m, "seed": s, "document": "d", "bytes": 1, "nats": n} for m, s, n in rows])
    assert list(panel(table, "a").seeds) == ["-2", "9", "10", "--1"]


def test_shares_may_agree_between_seeds_and_a_mix_with_the_baseline() -> None:
    right = table().with_columns(right=pl.lit(1.0))
    assert panel(right, "raw", mean_of("right", span=1.0)).values.min() == 1
    assert (panel(table(), "raw").values[0] == panel(table(), "raw").values[1]).all()  # two mixes of the same data
    graded = right.with_columns(right=(pl.col("document").str.slice(1).cast(pl.Float64)) / 7)
    six = pl.concat([graded, graded.with_columns(pl.col("document") + "x", right=pl.col("right") + 0.03)])
    with pytest.raises(InputError, match="the same scores under seeds 0 and 1"):
        panel(six, "raw", mean_of("right"))
