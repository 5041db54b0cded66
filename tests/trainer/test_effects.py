"""Paired effects: closed forms, verdicts, corrections, and simulated error rates."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.stats.effects import contract, effects, effects_by_source, holm, panel_effects
from windtunnel.trainer.stats.paired import BITS_PER_BYTE, Panel, mean_of, panel, read_scores

LN2 = math.log(2)


def scores(
    rng: np.random.Generator,
    shifts: dict[str, float],
    seeds: int = 3,
    documents: int = 60,
    seed_sd: float = 0.01,
    score_sd: float = 0.05,
    size: tuple[int, int] = (200, 3000),
) -> pl.DataFrame:
    """Scores in bits per byte: text + shift of the mix + noise of the run + noise of the score."""
    text = rng.normal(2, 0.2, documents)
    lengths = rng.integers(*size, documents)
    parts = []
    for mix, shift in shifts.items():
        for seed in range(seeds):
            bits = text + shift + rng.normal(0, seed_sd) + rng.normal(0, score_sd, documents)
            parts.append(
                pl.DataFrame(
                    {
                        "mix": [mix] * documents,
                        "seed": [seed] * documents,
                        "document": [f"d{k:03}" for k in range(documents)],
                        "source": [f"s{k % 3}" for k in range(documents)],
                        "bytes": lengths,
                        "nats": bits * lengths * LN2,
                    }
                )
            )
    return pl.concat(parts)


def by_seed(table: pl.DataFrame, mix: str) -> np.ndarray:
    grouped = table.filter(pl.col("mix") == mix).group_by("seed").agg(pl.col("nats").sum(), pl.col("bytes").sum())
    return (grouped.sort("seed")["nats"] / LN2 / grouped.sort("seed")["bytes"]).to_numpy()


def test_effect_is_the_difference_of_ratios_of_sums_and_t_interval_is_scipys() -> None:
    table = scores(np.random.default_rng(1), {"raw": 0.0, "clean": -0.03}, seeds=5)
    (effect,) = effects(table, "raw")
    expected = stats.ttest_rel(by_seed(table, "clean"), by_seed(table, "raw"))
    assert effect.effect == pytest.approx((by_seed(table, "clean") - by_seed(table, "raw")).mean(), abs=1e-12)
    low, high = expected.confidence_interval(0.95)
    assert (effect.t_low, effect.t_high) == (pytest.approx(low, abs=1e-12), pytest.approx(high, abs=1e-12))
    assert effect.value == pytest.approx(by_seed(table, "clean").mean())
    assert effect.baseline_value == pytest.approx(by_seed(table, "raw").mean())


def test_without_document_noise_interval_and_p_are_those_of_the_paired_t_test() -> None:
    table = scores(np.random.default_rng(2), {"raw": 0.0, "clean": -0.02}, seeds=4, score_sd=0.0)
    (effect,) = effects(table, "raw")
    expected = stats.ttest_rel(by_seed(table, "clean"), by_seed(table, "raw"))
    low, high = expected.confidence_interval(0.95)
    assert effect.low == pytest.approx(low, abs=1e-9)
    assert effect.high == pytest.approx(high, abs=1e-9)
    assert effect.p == pytest.approx(expected.pvalue, abs=1e-9)
    assert effect.document_error == pytest.approx(0, abs=1e-9)


def test_the_contract_has_eight_fields_in_their_order() -> None:
    table = scores(np.random.default_rng(3), {"raw": 0.0, "a": -0.2, "b": 0.2})
    rows = contract(effects(table, "raw"))
    assert [list(row) for row in rows] == [
        ["mix", "metric", "effect", "low", "high", "seeds", "verdict", "seeds_needed"]
    ] * 2
    assert [(row["mix"], row["verdict"], row["seeds"]) for row in rows] == [("a", "better", 3), ("b", "worse", 3)]
    assert all(row["low"] < row["effect"] < row["high"] and row["seeds_needed"] is None for row in rows)
    assert rows[0]["metric"] == "bits_per_byte"


def test_order_of_rows_and_kind_of_names_change_nothing() -> None:
    table = scores(np.random.default_rng(4), {"raw": 0.0, "a": -0.01})
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=1)
    as_text = shuffled.with_columns(pl.col("seed").cast(pl.String))
    assert effects(table, "raw") == effects(as_text, "raw")


def test_a_csv_gives_what_its_table_gives(tmp_path) -> None:
    table = scores(np.random.default_rng(5), {"raw": 0.0, "1": -0.01})
    table.write_csv(tmp_path / "scores.csv")
    table.write_parquet(tmp_path / "scores.parquet")
    table.write_ndjson(tmp_path / "scores.jsonl")
    expected = effects(table, "raw", margin=0.02)
    for name in ("scores.csv", "scores.parquet", "scores.jsonl"):
        assert effects(read_scores(tmp_path / name), "raw", margin=0.02) == expected


def test_one_seed_is_undecided_and_no_interval_is_invented() -> None:
    table = scores(np.random.default_rng(6), {"raw": 0.0, "a": -1.0}, seeds=1)
    (effect,) = effects(table, "raw", margin=0.5)
    assert effect.verdict == "undecided"
    assert (effect.low, effect.high, effect.p) == (None, None, None)
    assert effect.effect < -0.9
    assert effect.seeds_needed == 3
    assert effects_by_source(panel(table, "raw"))["low"].null_count() == 6


def test_equivalent_when_the_interval_lies_within_the_margin_and_not_without_one() -> None:
    table = scores(np.random.default_rng(7), {"raw": 0.0, "a": 0.001}, seeds=8, seed_sd=0.001, score_sd=0.005)
    (effect,) = effects(table, "raw", margin=0.02)
    assert effect.verdict == "equivalent"
    assert -0.02 <= effect.low <= effect.high <= 0.02
    assert effects(table, "raw")[0].verdict != "equivalent"
    real = scores(np.random.default_rng(8), {"raw": 0.0, "a": -0.002}, seeds=8, seed_sd=0.0001, score_sd=0.0005)
    assert effects(real, "raw")[0].verdict == "better"
    assert effects(real, "raw", margin=0.02)[0].verdict == "equivalent"  # real, and too small to matter


def test_runs_that_are_copies_of_one_another_differ_by_nothing() -> None:
    table = scores(np.random.default_rng(9), {"raw": 0.0})
    copy = table.with_columns(mix=pl.lit("copy"))
    (effect,) = effects(pl.concat([table, copy]), "raw")
    assert (effect.effect, effect.low, effect.high, effect.verdict) == (0.0, 0.0, 0.0, "undecided")
    assert effects(pl.concat([table, copy]), "raw", margin=0.001)[0].verdict == "equivalent"


def test_higher_is_better_turns_the_verdict_round() -> None:
    rng = np.random.default_rng(10)
    parts = []
    for mix, rate in (("sft", 0.4), ("dpo", 0.6)):
        for seed in range(4):
            right = (rng.random(400) < rate).astype(float)
            parts.append(pl.DataFrame({"mix": mix, "seed": seed, "document": np.arange(400), "accuracy": right}))
    (effect,) = effects(pl.concat(parts), "sft", metric=mean_of("accuracy"))
    assert effect.verdict == "better"
    assert effect.metric == "accuracy"
    assert effect.value == pytest.approx(0.6, abs=0.05)
    (other,) = effects(pl.concat(parts), "dpo", metric=mean_of("accuracy"))
    assert other.verdict == "worse"


def test_holm_is_the_textbook_procedure() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]


def test_holm_holds_back_a_verdict_that_its_own_interval_would_give() -> None:
    mixes = {"raw": 0.0, "a": -0.02} | {f"same{k}": 0.0 for k in range(8)}
    for number in range(20):
        table = scores(np.random.default_rng(number), mixes, seeds=4, seed_sd=0.01)
        first = effects(table, "raw")[0]
        if first.p is not None and 0.0063 < first.p < 0.05 and first.p_holm is not None and first.p_holm >= 0.05:
            break
    else:
        pytest.fail("no table of the kind that this test is about")
    assert first.high is not None and first.high < 0
    assert first.verdict == "undecided"
    assert "Holm" in first.note


def test_seeds_needed_grow_as_the_square_of_the_noise() -> None:
    needed = {}
    for sd in (0.01, 0.02, 0.04):
        # deviations fixed by hand, so that the estimate of the spread is exact
        per_seed = np.array([-1.0, 0.0, 1.0]) * sd + 0.008
        values = np.stack([np.full((3, 50), 2.0), np.full((3, 50), 2.0) + per_seed[:, None]]) * 1000
        table = Panel(
            BITS_PER_BYTE, ("raw", "a"), ("0", "1", "2"), np.arange(50), ("s",), np.zeros(50, np.int32),
            np.full(50, 1000.0), values,
        )  # fmt: skip
        (effect,) = panel_effects(table)
        assert effect.verdict == "undecided"
        needed[sd] = effect.seeds_needed
        guess = ((2.576 + 0.84) * sd / 0.008) ** 2  # at 1 %: the look with three seeds is taken
        assert guess <= needed[sd] <= guess + 5
        assert effect.seeds_needed_low < needed[sd] < (effect.seeds_needed_high or 1001)
    assert needed[0.01] < needed[0.02] < needed[0.04]


def test_looks_decide_only_where_they_were_declared() -> None:
    rng = np.random.default_rng(13)
    clear = {"raw": 0.0, "a": -0.2}
    first = scores(rng, clear, seeds=3)
    at_three = effects(first, "raw", looks=(3, 5, 8, 12), spending="obrien_fleming")[0]
    assert at_three.verdict == "undecided"  # O'Brien-Fleming spends next to nothing at the first look
    assert at_three.seeds_needed in (5, 8) and at_three.interval > 0.9999
    decided = effects(first, "raw", looks=(3, 5, 8, 12))[0]
    assert decided.verdict == "better" and decided.interval == pytest.approx(1 - 0.05 / 8)  # (3 / 12) ** 1.5
    between = effects(scores(rng, clear, seeds=4), "raw", looks=(3, 5, 8, 12))[0]
    assert (between.verdict, between.seeds_needed) == ("undecided", 5)
    assert "look" in between.note
    at_five = effects(scores(rng, clear, seeds=5), "raw", looks=(3, 5, 8, 12))[0]
    assert at_five.verdict == "better"
    once = effects(scores(rng, clear, seeds=5), "raw")[0]
    assert at_five.high - at_five.low > once.high - once.low  # looking again has a price
    with pytest.raises(InputError, match="looks end at 12"):
        effects(scores(rng, clear, seeds=13), "raw", looks=(3, 5, 8, 12))


def test_matrix_has_each_mix_on_each_source_and_weighs_up_to_the_whole() -> None:
    table = scores(np.random.default_rng(14), {"raw": 0.0, "a": -0.05, "b": 0.0}, seeds=4)
    shifted = table.with_columns(
        nats=pl.when((pl.col("mix") == "b") & (pl.col("source") == "s1"))
        .then(pl.col("nats") + 0.3 * LN2 * pl.col("bytes"))
        .otherwise(pl.col("nats"))
    )
    matrix = effects_by_source(panel(shifted, "raw"))
    assert matrix.select("mix", "source").n_unique() == matrix.height == 9
    b = {row["source"]: row for row in matrix.filter(pl.col("mix") == "b").iter_rows(named=True)}
    assert b["s1"]["effect"] == pytest.approx(0.3, abs=0.05)
    assert b["s1"]["low"] > 0
    assert abs(b["s0"]["effect"]) < 0.05
    for effect in effects(shifted, "raw"):
        cells = matrix.filter(pl.col("mix") == effect.mix)
        assert (cells["value"] * cells["bytes"]).sum() / cells["bytes"].sum() == pytest.approx(effect.value)


def test_a_cell_of_the_matrix_is_the_effect_on_that_source_alone() -> None:
    table = scores(np.random.default_rng(15), {"raw": 0.0, "a": -0.02}, seeds=4)
    table = table.with_columns(group=pl.col("document").str.slice(1).cast(pl.Int64) // 12)
    cells = effects_by_source(panel(table, "raw")).filter(pl.col("mix") == "a")
    for cell in cells.iter_rows(named=True):
        part = table.filter(pl.col("source") == cell["source"])
        (alone,) = effects(part, "raw")
        assert [cell[name] for name in ("effect", "low", "high")] == pytest.approx(
            [alone.effect, alone.low, alone.high], abs=1e-12
        )
        assert cell["seed_sd"] == pytest.approx(by_seed(part, "a").std(ddof=1))
        assert (cell["documents"], cell["seeds"]) == (20, 4)


def test_mixes_keep_the_order_of_the_table() -> None:
    table = scores(np.random.default_rng(16), {"web": 0.0, "books": -0.1, "code": 0.1, "all": 0.0})
    assert [effect.mix for effect in effects(table, "code")] == ["web", "books", "all"]


def test_another_level_is_another_interval() -> None:
    table = scores(np.random.default_rng(17), {"raw": 0.0, "a": -0.01}, seeds=5)
    (wide,), (narrow,) = effects(table, "raw"), effects(table, "raw", level=0.8)
    low, high = stats.ttest_rel(by_seed(table, "a"), by_seed(table, "raw")).confidence_interval(0.8)
    assert (wide.interval, narrow.interval) == (0.95, 0.8)
    assert (narrow.t_low, narrow.t_high) == (pytest.approx(low, abs=1e-12), pytest.approx(high, abs=1e-12))
    assert wide.low < narrow.low < narrow.high < wide.high


def by_hand(*differences: list[float]) -> Panel:
    """Mixes whose differences from the baseline, by seed, are the same on each of 50 documents."""
    seeds = len(differences[0])
    values = np.full((1 + len(differences), seeds, 50), 2.0) + np.array([[0.0] * seeds, *differences])[:, :, None]
    return Panel(
        BITS_PER_BYTE, ("raw", *"abcdefgh"[: len(differences)]), tuple(map(str, range(seeds))), np.arange(50), ("s",),
        np.zeros(50, np.int32), np.full(50, 1000.0), values * 1000,
    )  # fmt: skip


def test_a_difference_beyond_the_margin_is_no_equivalence_on_either_side() -> None:
    spread = np.array([-0.001, 0.0, 0.001])
    found = panel_effects(by_hand(list(spread - 0.1), list(spread + 0.1), list(spread)), margin=0.02)
    assert [effect.verdict for effect in found] == ["better", "worse", "equivalent"]
    (wide,) = panel_effects(by_hand([-0.03, 0.0, 0.03]), margin=0.02)
    assert wide.verdict == "undecided" and wide.effect == pytest.approx(0)  # near zero, but who knows


def test_seeds_needed_count_the_mixes_and_what_the_margin_asks() -> None:
    noisy = [-0.012, 0.008, 0.028]
    (alone,) = panel_effects(by_hand(noisy))
    among = panel_effects(by_hand(noisy, noisy, noisy, noisy))[0]
    assert alone.verdict == among.verdict == "undecided"
    assert alone.seeds_needed is not None and among.seeds_needed is not None
    guess = [((stats.norm.ppf(1 - 0.005 / tests) + 0.84) * 0.02 / 0.008) ** 2 for tests in (1, 4)]
    assert guess[0] <= alone.seeds_needed <= guess[0] + 5 < guess[1] <= among.seeds_needed <= guess[1] + 6
    (margin,) = panel_effects(by_hand(noisy), margin=0.038)  # 0.03 to the margin are less far than 0.008 to zero
    assert margin.verdict == "undecided" and margin.seeds_needed < 12 < alone.seeds_needed


def test_a_note_says_only_what_is_so() -> None:
    notes = [effect.note for effect in panel_effects(by_hand([-0.02, 0.01, 0.02], [-0.03, 0.01, 0.04]))]
    assert notes == ["", ""]  # far from deciding anything: Holm has held nothing back
    (at_look,) = panel_effects(by_hand([-0.02, 0.01, 0.02]), looks=(3, 4))
    assert at_look.verdict == "undecided" and "next declared look" not in at_look.note
    (last,) = panel_effects(by_hand([-0.2, -0.21, -0.19, -0.2]), looks=(3, 4))
    assert last.verdict == "better"


def binomial(rate: float, runs: int) -> tuple[float, float]:
    """The range in which an observed share lies 99.9 times of 100."""
    return tuple(np.array(stats.binom.interval(0.999, runs, rate)) / runs)


@pytest.mark.parametrize(("seeds", "score_sd"), [(3, 0.0), (3, 0.2), (5, 0.2)])
def test_a_against_a_gives_five_percent_verdicts(seeds: int, score_sd: float) -> None:
    runs, wrong = 300, 0
    for number in range(runs):
        rng = np.random.default_rng([seeds, number])
        table = a_against_a(rng, seeds, 60, score_sd)
        wrong += panel_effects(table)[0].verdict != "undecided"
    low, high = binomial(0.05, runs)
    assert low <= wrong / runs <= high


def a_against_a(rng: np.random.Generator, seeds: int, documents: int, score_sd: float, shift: float = 0.0) -> Panel:
    weights = rng.integers(200, 3000, documents).astype(float)
    text = rng.normal(2, 0.2, documents)
    bits = text + rng.normal(0, 0.01, (2, seeds, 1)) + rng.normal(0, score_sd, (2, seeds, documents))
    bits[1] += shift
    source = (np.arange(documents) % 3).astype(np.int32)
    names = tuple(str(k) for k in range(seeds))
    return Panel(
        BITS_PER_BYTE, ("raw", "a"), names, np.arange(documents), ("x", "y", "z"), source, weights, bits * weights
    )


def test_power_is_what_seeds_needed_promises() -> None:
    """With sd s of a paired difference, n seeds for 80 % power find the effect about four times of five."""
    sd, shift = 0.01 * math.sqrt(2), 0.03
    n = next(n for n in range(2, 99) if (stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)) * sd / n**0.5 <= shift)
    found = 0
    for number in range(300):
        table = a_against_a(np.random.default_rng([9, number]), n, 40, 0.0, shift)
        found += panel_effects(table)[0].verdict == "worse"
    low, high = binomial(0.8, 300)
    assert low <= found / 300 <= max(high, 0.93)


def test_many_equal_mixes_give_five_percent_false_verdicts_in_the_family() -> None:
    runs, wrong = 150, 0
    for number in range(runs):
        rng = np.random.default_rng([77, number])
        weights = np.full(30, 1000.0)
        bits = rng.normal(2, 0.01, (6, 4, 1)) + np.zeros((6, 4, 30))
        table = Panel(
            BITS_PER_BYTE, ("raw", *"abcde"), tuple("0123"), np.arange(30), ("s",), np.zeros(30, np.int32), weights,
            bits * weights,
        )  # fmt: skip
        wrong += any(e.verdict != "undecided" for e in panel_effects(table))
    assert wrong / runs <= binomial(0.05, runs)[1]


def alike(difference: float, documents: int) -> pl.DataFrame:
    """Shares that differ by the same on every document, in every seed."""
    return pl.DataFrame(
        [
            {"mix": mix, "seed": seed, "document": f"d{k}", "right": k % 3 / 4 + difference * (mix == "b")}
            for mix in ("a", "b")
            for seed in range(3)
            for k in range(documents)
        ]
    )


def test_shares_that_never_differ_are_not_called_certain() -> None:
    (found,) = effects(alike(0.0, 16), "a", metric=mean_of("right", span=1.0))
    assert found.effect == 0 and found.p == 1 and found.verdict == "undecided"
    high = stats.binomtest(0, 16).proportion_ci(0.95, method="exact").high  # two-sided: all of it lies above
    assert found.high == pytest.approx(high) == -found.low
    assert "documents" in found.note
    (wide,) = effects(alike(0.0, 16), "a", metric=mean_of("right", span=1.0), margin=0.25)
    assert wide.verdict == "equivalent"  # the whole interval lies within the margin
    part = effects_by_source(panel(alike(0.0, 16), "a", mean_of("right", span=1.0)))
    assert part.filter(pl.col("mix") == "b")["high"][0] == pytest.approx(high)


@pytest.mark.parametrize(("documents", "verdict"), [(3, "undecided"), (16, "better")])
def test_shares_that_differ_alike_are_certain_only_with_documents_enough(documents: int, verdict: str) -> None:
    (found,) = effects(alike(0.5, documents), "a", metric=mean_of("right", span=0.5))
    assert found.high == found.effect == 0.5 and found.verdict == verdict
    assert (found.low > 0) == (found.p < 0.05) == (verdict == "better")
    assert found.p == pytest.approx(2 * 0.5**documents)


def test_rows_of_one_group_prove_no_more_than_one_of_them() -> None:
    table = alike(0.0, 16).with_columns(group=pl.col("document").str.slice(1).cast(pl.Int64) // 4)
    (found,) = effects(table, "a", metric=mean_of("right", span=1.0))
    high = stats.binomtest(0, 4).proportion_ci(0.95, method="exact").high
    assert found.high == pytest.approx(high) == -found.low
    assert found.documents == 16


def test_an_empty_group_is_refused() -> None:
    table = alike(0.0, 4).with_columns(group=pl.when(pl.col("document") == "d1").then(None).otherwise(pl.lit("g")))
    with pytest.raises(InputError, match="'group' is empty"):
        effects(table, "a", metric=mean_of("right", span=1.0))
