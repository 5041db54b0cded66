"""The interval of an effect: closed forms, p values, and simulated coverage."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from windtunnel.trainer.stats.documents import units_of
from windtunnel.trainer.stats.effects import effects
from windtunnel.trainer.stats.intervals import RESOLUTION, Errors, all_alike, errors_of, interval, p_values, reach
from windtunnel.trainer.stats.paired import BITS_PER_BYTE, Panel, mean_of


def world(
    rng: np.random.Generator,
    seeds: int = 3,
    documents: int = 120,
    sources: int = 4,
    seed_sd: float = 0.0,
    shared_sd: float = 0.0,
    score_sd: float = 0.0,
    source_sd: float = 0.0,
) -> Panel:
    """Two mixes whose true difference is zero, with noise of runs, of documents, of scores and of sources."""
    weights = rng.integers(200, 4000, documents).astype(float)
    source = rng.integers(0, sources, documents).astype(np.int32)
    source[:sources] = np.arange(sources)
    base = rng.normal(2, 0.3, (seeds, documents))
    difference = (
        rng.normal(0, seed_sd, (seeds, 1))
        + rng.normal(0, shared_sd, documents)
        + rng.normal(0, score_sd, (seeds, documents))
        + rng.normal(0, source_sd, sources)[source]
    )
    values = np.stack([base, base + difference]) * weights
    names = tuple(f"s{k:03}" for k in range(sources))
    seed_names = tuple(str(k) for k in range(seeds))
    return Panel(BITS_PER_BYTE, ("raw", "a"), seed_names, np.arange(documents), names, source, weights, values)


def errors(table: Panel, clustered: bool | None = None) -> Errors:
    units, by_run = units_of(table, clustered), table.by_run()
    return errors_of(by_run[1] - by_run[0], units.variances(table.values[1] - table.values[0]), units.degrees)


def measured(table: Panel, alpha: float = 0.05):
    return interval(errors(table), alpha)


def test_one_part_alone_gives_the_exact_t_interval() -> None:
    seeds = Errors(0.1, 0.02, 0.0, 4, 9.0)
    documents = Errors(0.1, 0.0, 0.02, 4, 9.0)
    for alpha in (0.2, 0.05, 0.001):
        assert reach(seeds, alpha) == pytest.approx(0.02 * stats.t.isf(alpha / 2, 3))
        assert reach(documents, alpha) == pytest.approx(0.02 * stats.t.isf(alpha / 2, 9))
    assert p_values(seeds) == pytest.approx(2 * stats.t.sf(5, 3), rel=1e-9)


def test_two_parts_reach_less_far_than_their_reaches_squared_and_added() -> None:
    alpha = 0.05
    both = Errors(0.0, 0.03, 0.02, 3, 50.0)
    t = stats.t.isf(alpha / 2, 2), stats.t.isf(alpha / 2, 50)
    assert stats.norm.isf(alpha / 2) * np.hypot(0.03, 0.02) < reach(both, alpha) < np.hypot(t[0] * 0.03, t[1] * 0.02)
    by_hand = 0.0009 / 0.0013
    z = stats.norm.isf(alpha / 2)
    squared = z**2 + (t[0] ** 2 - z**2) * by_hand**1.7 + (t[1] ** 2 - z**2) * (1 - by_hand) ** 1.7
    assert reach(both, alpha) == pytest.approx(np.sqrt(0.0013 * squared))


def test_p_is_the_level_at_which_the_interval_ends_at_zero_or_at_the_margin() -> None:
    both = Errors(np.array([0.05, -0.2, 0.01]), 0.03, 0.02, 3, 20.0)
    for margin in (0.0, 0.005):
        p = p_values(both, margin)
        assert reach(both, p) == pytest.approx(np.abs(both.effect) - margin)
    assert p_values(both, 0.1)[0] == 1.0
    levels = np.geomspace(1e-9, 0.999, 80)
    for document in (0.001, 0.02, 0.3):
        assert (np.diff(reach(Errors(0, 0.03, document, 2, 3.0), levels)) < 0).all()


def test_the_error_is_never_below_the_resolution_of_a_score() -> None:
    for shift in (0.0, 1e-7):
        found = errors_of(np.full(8, shift), (0.0, 0.0), 5.0, size=2.0)
        assert found.seed == (0.0 if shift == 0 else pytest.approx(2 * RESOLUTION))
    assert p_values(found) > 0.5


@pytest.mark.parametrize("effect", [0.25, -0.25])
def test_runs_that_are_alike_on_every_document_by_hand(effect: float) -> None:
    found = all_alike(effect, documents=8, span=1.0, alpha=0.1, margin=0.1)
    unseen = 1 - 0.05 ** (1 / 8)
    assert (found.low, found.high) == (
        pytest.approx((1 - unseen) * effect - unseen),
        pytest.approx((1 - unseen) * effect + unseen),
    )
    assert found.p == pytest.approx(2 * 0.8**8)
    assert (found.degrees, found.seed_error) == (7, 0)
    assert found.document_error == pytest.approx((found.high - found.low) / 4)  # as where 2 errors reach either end
    for p, value in ((found.p, 0.0), (found.p_margin, 0.1)):
        at = all_alike(effect, documents=8, span=1.0, alpha=p)
        assert min(abs(at.low), abs(at.high)) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("right", [([0, 1, 2], [7, 8, 9]), ([0], [9]), ([3], [3])], ids=["apart", "one", "same"])
def test_seeds_of_one_mean_leave_the_sampling_of_the_items(right: tuple[list[int], ...]) -> None:
    """Few items often give one share at every seed, whose spread then says nothing about other items."""
    rows = [
        {"mix": mix, "seed": seed, "document": f"d{k}", "right": float(mix == "b" and k in right[seed])}
        for mix in "ab"
        for seed in range(2)
        for k in range(20)
    ]
    (found,) = effects(pl.DataFrame(rows), "a", metric=mean_of("right", span=1.0))
    share = np.array([[float(k in one) for k in range(20)] for one in right]).mean(axis=0)
    assert found.document_error >= 0.999999 * share.std(ddof=1) / np.sqrt(20)
    assert found.high - found.low == pytest.approx(2 * stats.t.isf(0.025, 19) * found.document_error)
    swapped = pl.DataFrame(
        [row | {"right": float(row["document"] == f"d{(row['mix'] == 'b') ^ row['seed']}")} for row in rows]
    )
    (even,) = effects(swapped, "a", metric=mean_of("right", span=1.0))
    assert even.effect == 0 and not even.equal and even.high - even.low > 0.1


def test_the_same_table_gives_the_same_interval() -> None:
    table = world(np.random.default_rng(8), seed_sd=0.01, shared_sd=0.1)
    assert measured(table) == measured(table)


@pytest.mark.parametrize(
    "noise",
    [
        {"seed_sd": 0.01},
        {"score_sd": 0.1},
        {"shared_sd": 0.1, "seed_sd": 0.0001},
        {"seed_sd": 0.01, "shared_sd": 0.1},
        {"seed_sd": 0.01, "shared_sd": 0.03},
        {"seed_sd": 0.01, "shared_sd": 0.1, "score_sd": 0.1},
        {"seed_sd": 0.005, "shared_sd": 0.05, "source_sd": 0.05, "sources": 30},
    ],
    ids=["seeds", "scores", "documents", "seeds_documents", "few_documents", "all", "sources"],
)
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_coverage_is_nominal_whatever_the_noise_comes_from(noise: dict, seeds: int) -> None:
    runs, hit, t_hit = 400, 0, 0
    for number in range(runs):
        found = errors(world(np.random.default_rng([seeds, number]), seeds=seeds, **noise))
        hit += abs(found.effect) <= reach(found, 0.05)
        t_hit += abs(found.effect) <= stats.t.isf(0.025, seeds - 1) * found.seed
    low, _ = stats.binom.interval(0.999, runs, 0.94)
    assert low / runs <= hit / runs <= 0.99
    if noise.get("shared_sd", 0) > 0.03 and seeds == 5:
        assert t_hit < hit - 0.1 * runs  # over seeds alone, a lucky draw of documents looks like an effect


def test_two_documents_do_not_pass_for_many() -> None:
    hit = 0
    for number in range(300):
        table = world(np.random.default_rng(number), 5, 2, 1, seed_sd=0.005, shared_sd=0.05, score_sd=0.03)
        found = errors(table)
        hit += abs(found.effect) <= reach(found, 0.05)
    assert hit / 300 > 0.87


def test_sources_as_a_sample_are_wider_where_they_differ() -> None:
    table = world(np.random.default_rng(3), 5, 300, 6, seed_sd=0.001, shared_sd=0.01, source_sd=0.05)
    assert reach(errors(table, clustered=True), 0.05) > 5 * reach(errors(table), 0.05)
