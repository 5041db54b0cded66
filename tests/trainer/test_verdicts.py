"""Outcomes by their definition, what is said of inputs that look wrong, and sources that a sentence may name."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from windtunnel.pipelines.report.wording import label, sentence
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.trainer.stats.compare import Compare
from windtunnel.trainer.stats.effects import effects, effects_by_source, panel_effects
from windtunnel.trainer.stats.intervals import Errors, interval
from windtunnel.trainer.stats.outliers import outliers
from windtunnel.trainer.stats.paired import BITS_PER_BYTE, Panel, panel
from windtunnel.trainer.stats.verdicts import holm, outcome_of


def table(seeds: int = 4, documents: int = 60, shift: float = 0.0, sources: int = 3, seed: int = 0) -> pl.DataFrame:
    """Scores of a baseline `raw` and a mix `new`, in nats."""
    rng = np.random.default_rng(seed)
    text, size = rng.normal(2, 0.2, documents), rng.integers(200, 3000, documents)
    runs = [
        {
            "mix": mix,
            "seed": s,
            "document": f"d{k:03}",
            "source": f"s{k % sources}",
            "bytes": size[k],
            "nats": (text[k] + noise + (shift if mix == "new" else 0) + rng.normal(0, 0.02)) * size[k] * np.log(2),
        }
        for mix in ("raw", "new")
        for s, noise in enumerate(rng.normal(0, 0.01, seeds))
        for k in range(documents)
    ]
    return pl.DataFrame(runs)


def by_hand(*differences: list[float], documents: int = 50) -> Panel:
    """Mixes whose differences from the baseline, by seed, are the same on each document."""
    seeds = len(differences[0])
    noise = np.arange(seeds)[:, None] * 0.01 + np.linspace(0, 1, documents)
    values = 2.0 + noise + np.array([[0.0] * seeds, *differences])[:, :, None]
    return Panel(
        BITS_PER_BYTE, ("raw", *"abcdefgh"[: len(differences)]), tuple(map(str, range(seeds))), np.arange(documents),
        ("s",), np.zeros(documents, np.int32), np.full(documents, 1000.0), values * 1000,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("effect", "margin", "outcome"),
    [
        (0.10, 0.02, "worse"),
        (-0.10, 0.02, "better"),
        (0.012, 0.02, "equivalent"),  # zero is excluded, and it does not matter
        (0.001, 0.02, "equivalent"),
        (0.02, 0.02, "direction"),
        (-0.024, 0.02, "direction"),
        (0.003, 0.004, "undecided"),
        (0.012, None, "worse"),
        (0.003, None, "undecided"),
    ],
)
def test_the_five_outcomes(effect: float, margin: float | None, outcome: str) -> None:
    i = interval(Errors(effect, 0.002, 0.0, 5, 0.0), 0.05, margin or 0.0)  # the interval reaches 0.0056
    assert outcome_of(i, i.p, i.p_margin, 0.05, margin, "lower") == outcome
    turned = {"better": "worse", "worse": "better"}
    assert outcome_of(i, i.p, i.p_margin, 0.05, margin, "higher") == turned.get(outcome, outcome)


def test_direction_without_size_is_undecided_in_the_contract() -> None:
    (found,) = panel_effects(by_hand([0.021, 0.019, 0.020, 0.022, 0.018]), margin=0.0195)
    assert (found.outcome, found.verdict) == ("direction", "undecided")
    assert found.contract()["verdict"] == "undecided" and len(found.contract()) == 8
    assert found.p_margin is not None and found.p_holm is not None and found.p_holm < 0.05 < found.p_margin
    (decided,) = panel_effects(by_hand([0.021, 0.019, 0.020, 0.022, 0.018]), margin=0.01)
    assert (decided.verdict, decided.seeds_needed, decided.smallest_visible) == ("worse", None, None)


def test_holm_counts_for_the_margin_too() -> None:
    near = [0.0245, 0.019, 0.022, 0.026, 0.021]
    (alone,) = panel_effects(by_hand(near), margin=0.018)
    among = panel_effects(by_hand(near, *[[0.01, -0.01, 0.0, 0.005, k / 100] for k in range(7)]), margin=0.018)
    assert alone.outcome == "worse" and among[0].outcome == "direction"


def test_a_seed_that_was_copied_is_named() -> None:
    one = table(1)
    copies = pl.concat([one.with_columns(seed=pl.lit(s)) for s in range(8)])
    with pytest.raises(InputError, match="mix 'raw' has the same scores under seeds 0 and 1"):
        effects(copies, "raw")


def test_a_mix_that_is_the_baseline_in_every_run_is_said_to_be() -> None:
    raw = table().filter(pl.col("mix") == "raw")
    both = pl.concat([raw, raw.with_columns(mix=pl.lit("copy"))])
    (found,) = effects(both, "raw")
    assert (found.verdict, found.effect, found.low, found.high, found.equal) == ("undecided", 0, 0, 0, True)
    assert "equal to the last digit" in found.note and found.seeds_needed is None
    assert effects(both, "raw", margin=0.001)[0].verdict == "equivalent"


def test_a_shift_below_the_resolution_of_scores_is_no_effect() -> None:
    (found,) = panel_effects(by_hand([1e-7] * 8))
    assert found.verdict == "undecided" and found.p is not None and found.p > 0.5
    assert "resolution" in found.note
    (constant,) = panel_effects(by_hand([1e-4] * 8))
    assert constant.verdict == "undecided" and "the same at every seed to the last digit" in constant.note
    measured = by_hand([1e-4 + 1e-6 * k for k in range(8)])
    assert panel_effects(measured)[0].verdict == "worse"  # a difference that can be measured


def test_runs_worse_than_a_uniform_guess_have_diverged_and_decide_nothing() -> None:
    for seeds in (2, 5):
        scores = by_hand([0.01 * k for k in range(seeds)])
        scores.values[1, 1] += 1e6 * scores.weights
        (found,) = panel_effects(scores)
        assert found.verdict == "undecided" and found.seeds_needed is None
        assert "seed 1 of " in found.note and "diverged" in found.note


@pytest.mark.parametrize("noise", [1e-9, 1e-6, 3e-5])
def test_a_run_scored_twice_is_no_second_seed(noise) -> None:
    once = table(1, shift=0.02)
    again = once.with_columns(pl.lit("copy").alias("seed"), (pl.col("nats") * (1 + noise)).alias("nats"))
    with pytest.raises(InputError, match="one run was copied or scored twice"):
        effects(pl.concat([once.with_columns(pl.col("seed").cast(pl.String)), again]), "raw")


def test_a_reference_that_no_seed_reaches_is_the_same_under_all() -> None:
    once = table(1, shift=0.02)
    both = pl.concat([once.with_columns(pl.lit(seed).alias("seed")) for seed in ("0", "1")])
    trained = pl.col("nats") * pl.when(pl.col("seed") == "1").then(1.1).otherwise(1.0)
    scores = both.with_columns(nats=pl.when(pl.col("mix") == "raw").then(trained).otherwise("nats"))
    (reference,) = set(scores["mix"]) - {"raw"}
    assert panel(scores, "raw", seedless=[reference]).mixes == ("raw", reference)
    for wrong in ([], ["raw"]):
        with pytest.raises(InputError, match=f"mix '{reference}' has the same scores"):
            panel(scores, "raw", seedless=wrong)


def test_a_reference_has_a_size_and_no_verdict_and_counts_for_no_correction() -> None:
    given = table(5, shift=0.3)
    other = given.filter(mix="new").with_columns(mix=pl.lit("guess"))
    scores = panel(pl.concat([given, other.with_columns(nats=pl.col("nats") * 1.1)]), "raw")
    mix, guess = Compare(baseline="raw", seedless=("guess",))._effects(scores, {})
    alone = panel_effects(panel(given, "raw"))[0]
    assert mix.model_dump() == alone.model_dump() and mix.verdict == "worse" and not mix.reference
    assert (guess.mix, guess.verdict, guess.outcome, guess.p_holm) == ("guess", "undecided", "undecided", None)
    assert guess.reference and guess.low is not None and guess.effect > mix.effect and not guess.judged
    assert label(guess) == "reference" and "it is a reference" in sentence(guess, "bits per byte")


def test_huge_scores_and_plans_of_looks_are_refused() -> None:
    huge = table(3).with_columns(pl.col("nats") * 1e300)
    with pytest.raises(InputError, match="above 1e100"):
        effects(huge, "raw")
    with pytest.raises(RecipeError, match="at most 200 seeds"):
        effects(table(3), "raw", looks=(3, 100_000_000))


def test_one_document_gives_no_verdict() -> None:
    (found,) = effects(table(8, documents=1, shift=0.5), "raw")
    assert found.verdict == "undecided" and "one held-out document shows nothing about others" in found.note
    assert (found.seeds_needed, found.smallest_visible) == (None, None)
    grouped = table(8, documents=9, shift=0.5).with_columns(source=pl.lit("s"), group=pl.lit("g"))
    assert "documents of one origin" in effects(grouped, "raw")[0].note


def test_a_run_that_diverged_and_stayed_finite_is_named_and_decides_nothing() -> None:
    diverged = (pl.col("mix") == "new") & (pl.col("seed") == 2)
    runs = table(5).with_columns(nats=pl.when(diverged).then(pl.col("nats") * 2.5).otherwise("nats"))
    (found,) = effects(runs, "raw")
    assert found.verdict == "undecided" and "seed 2 of new stands apart" in found.note
    baseline = runs.with_columns(mix=pl.col("mix").replace({"raw": "new", "new": "raw"}))
    assert "seed 2 of raw stands apart" in effects(baseline, "raw")[0].note
    assert "stands apart" not in effects(table(5), "raw")[0].note


@pytest.mark.parametrize("seeds", [3, 4, 5, 8, 20, 40])
def test_few_tables_without_an_outlier_show_one(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    flagged = sum(bool(outliers(rng.normal(0, 1, seeds))) for _ in range(2000))
    assert flagged / 2000 < 0.025
    assert outliers(np.array([0.01, 0.012, 0.011, 3.0, 2.9, 0.013, 0.012])) == [3, 4]  # two do not hide each other
    assert outliers(np.array([0.0, 1.0])) == []


def test_looks_taken_and_declared_are_in_the_effect() -> None:
    runs = table(5, shift=0.004)
    (plain,), (later,) = effects(runs, "raw"), effects(runs, "raw", after=(3,))
    assert (plain.interval, later.interval) == (0.95, 0.99) and later.after == [3]
    assert plain.low is not None and later.low is not None and later.low < plain.low
    (declared,) = effects(runs, "raw", looks=(3, 5, 8))
    assert declared.looks == [3, 5, 8] and declared.interval == pytest.approx(1 - 0.0151, abs=1e-3)
    with pytest.raises(InputError, match="the looks end at 4"):
        effects(runs, "raw", looks=(3, 4))


def test_what_an_undecided_effect_needs() -> None:
    (found,) = panel_effects(by_hand([-0.012, 0.008, 0.028]))
    assert found.seeds_needed_low is not None and found.seeds_needed is not None
    assert 3 < found.seeds_needed_low < found.seeds_needed < (found.seeds_needed_high or 1001)
    t = 4.303 + 1.061  # of 97.5 and 80 % with two degrees of freedom
    assert found.smallest_visible == pytest.approx(t * 0.02 / 3**0.5, rel=1e-3)
    rng = np.random.default_rng(0)
    own = rng.normal(0.004, 0.2, 40)
    values = np.stack([np.full((4, 40), 2.0), 2.0 + own + rng.normal(0, 0.0005, (4, 1))]) * 1000
    few = Panel(
        BITS_PER_BYTE, ("raw", "a"), tuple("0123"), np.arange(40), ("s",), np.zeros(40, np.int32),
        np.full(40, 1000.0), values,
    )  # fmt: skip
    (limited,) = panel_effects(few)
    assert limited.seeds_needed is None and limited.documents_needed is not None
    size = abs(limited.effect)
    assert limited.documents_needed == pytest.approx(40 * 2 * (0.2 * 3.417 / 40**0.5 / size) ** 2, rel=0.5)
    assert f"{limited.documents_needed:,} documents" in limited.note


def test_the_sources_as_a_sample_stand_beside_where_there_are_several() -> None:
    rng = np.random.default_rng(3)
    shifts = {f"s{k}": value for k, value in enumerate(rng.normal(-0.05, 0.05, 5))}
    runs = table(5, documents=200, sources=5)
    shift = pl.when(pl.col("mix") == "new").then(pl.col("source").replace_strict(shifts)).otherwise(0.0)
    (found,) = effects(runs.with_columns(nats=pl.col("nats") + shift * np.log(2) * pl.col("bytes")), "raw")
    assert found.low is not None and found.high is not None
    assert found.sources_low is not None and found.sources_high is not None
    assert found.sources_high - found.sources_low > 3 * (found.high - found.low)
    (one,) = effects(runs.with_columns(source=pl.lit("s")), "raw")
    assert (one.sources_low, one.sources_high) == (None, None)


def test_sources_are_named_after_correction_and_with_documents_enough() -> None:
    runs = table(5, documents=240, sources=6)
    moved = (pl.col("mix") == "new") & pl.col("source").is_in(["s1", "s2"])
    shifted = pl.when(moved).then(pl.col("nats") + 0.2 * np.log(2) * pl.col("bytes")).otherwise("nats")
    heavy = pl.when(pl.col("source") == "s2", pl.col("document") == "d002").then(500).otherwise(1)
    uneven = runs.with_columns(nats=shifted).with_columns(pl.col("bytes") * heavy, pl.col("nats") * heavy)
    matrix = effects_by_source(panel(uneven, "raw")).filter(pl.col("mix") == "new")
    found = {row["source"]: row for row in matrix.iter_rows(named=True)}
    assert found["s1"]["named"] and not any(found[s]["named"] for s in ("s0", "s2", "s3", "s4", "s5"))
    assert found["s2"]["effective_documents"] < 10 and found["s2"]["p_holm"] is None
    tested = [row for row in found.values() if row["p"] is not None and row["effective_documents"] >= 10]
    assert [row["p_holm"] for row in tested] == pytest.approx(holm([row["p"] for row in tested]))
    beyond = effects_by_source(panel(uneven, "raw"), margin=0.3)
    assert not beyond["named"].any()
    waiting = effects_by_source(panel(uneven, "raw"), looks=(4, 6))
    assert not waiting["named"].any()
