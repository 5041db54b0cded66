"""The interval of an effect: known bootstraps, variance parts, and simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from windtunnel.trainer.stats.intervals import (
    CLUSTERS_FROM,
    all_alike,
    degrees_of,
    document_variances,
    interval,
    resample,
)
from windtunnel.trainer.stats.paired import BITS_PER_BYTE, Panel


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


def measured(table: Panel, draws: int = 300):
    by_run = table.by_run()
    drawn = resample(table, draws)
    return interval(by_run[1] - by_run[0], drawn.values[1] - drawn.values[0], drawn.degrees)


def test_document_bootstrap_agrees_with_scipys() -> None:
    table = world(np.random.default_rng(0), seeds=2, documents=80, sources=1, shared_sd=0.1)
    drawn = resample(table, 4000)
    spread = (drawn.values[1, 0] - drawn.values[0, 0]).std(ddof=1)

    def ratio(difference, weight, axis):
        return difference.sum(axis) / weight.sum(axis)

    difference = table.values[1, 0] - table.values[0, 0]
    known = stats.bootstrap(
        (difference, table.weights), ratio, paired=True, n_resamples=4000, method="percentile", vectorized=True,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    assert spread == pytest.approx(known.standard_error * np.sqrt(80 / 79), rel=0.06)


def test_seed_bootstrap_is_unbiased_for_the_standard_error() -> None:
    table = world(np.random.default_rng(3), seeds=6, seed_sd=0.01)
    found = measured(table, 4000)
    half = (found.bootstrap_high - found.bootstrap_low) / 2
    assert half == pytest.approx(1.96 * found.seed_error, rel=0.1)


def test_strata_keep_their_share_of_the_text_and_clusters_do_not() -> None:
    few = world(np.random.default_rng(4), sources=4)
    many = world(np.random.default_rng(4), sources=CLUSTERS_FROM, documents=200)
    alike = Panel(**{**few.__dict__, "weights": np.ones(120)})
    assert resample(alike, 100).degrees == pytest.approx(120 - 4)
    assert CLUSTERS_FROM / 2 < resample(many, 100).degrees < CLUSTERS_FROM - 1


def test_a_few_long_documents_leave_few_degrees_of_freedom() -> None:
    assert degrees_of([np.ones(10), np.ones(5), np.ones(1)]) == pytest.approx(13)
    assert degrees_of([np.array([1000.0, 1.0, 1.0, 1.0])]) == 1.0
    assert degrees_of([np.ones(1)]) == 0.0
    half = np.concatenate([np.ones(100), np.full(4, 25.0)])  # four documents hold half of the bytes
    assert 10 < degrees_of([half]) < 20


def test_clusters_see_what_documents_of_one_source_have_in_common() -> None:
    rng = np.random.default_rng(5)
    table = world(rng, seeds=4, documents=600, sources=30, source_sd=0.05, score_sd=0.02)
    as_one = Panel(**{**table.__dict__, "sources": ("all",), "source": np.zeros(600, np.int32)})
    assert measured(table).document_error > 2 * measured(as_one).document_error


def test_variance_parts_come_back() -> None:
    rng = np.random.default_rng(6)
    table = world(rng, seeds=40, documents=3000, sources=1, shared_sd=0.3, score_sd=0.6)
    drawn = resample(table, 2000)
    both, own = document_variances(drawn.values[1] - drawn.values[0])
    unit = (table.weights**2).sum() / table.weights.sum() ** 2
    assert own == pytest.approx(0.6**2 * unit / 40, rel=0.15)
    assert both - own == pytest.approx(0.3**2 * unit, rel=0.15)


def test_memory_does_not_grow_with_documents_and_the_spread_stays_right() -> None:
    table = world(np.random.default_rng(7), seeds=2, documents=50_000, sources=3, shared_sd=0.3)
    drawn = resample(table, 500)
    assert drawn.degrees < 4096
    spread = (drawn.values[1, 0] - drawn.values[0, 0]).std()
    unit = np.sqrt((table.weights**2).sum()) / table.weights.sum()
    assert spread == pytest.approx(0.3 * unit, rel=0.12)


def test_the_parts_of_an_interval_by_hand() -> None:
    rng = np.random.default_rng(9)
    differences = np.array([0.030, 0.034, 0.026])
    drawn = differences[:, None] + rng.normal(0, 0.004, 500) + rng.normal(0, 0.002, (3, 500))
    found = interval(differences, drawn, 7.0, alpha=0.1)
    seeds = 0.004**2 / 3
    documents = drawn.mean(axis=0).var()
    own = (drawn - drawn.mean(axis=0)).var(axis=1).mean() / 2
    error = np.sqrt(seeds + documents - own)
    degrees = error**4 / (seeds**2 / 2 + documents**2 / 7 + own**2 / 14)
    assert 2 < degrees < 9 and documents > own
    assert (found.effect, found.degrees) == (pytest.approx(0.03), pytest.approx(degrees))
    assert (found.seed_error**2, found.document_error**2) == (pytest.approx(seeds), pytest.approx(documents - own))
    reach = stats.t.ppf(0.95, degrees) * error
    assert (found.low, found.high) == (pytest.approx(0.03 - reach), pytest.approx(0.03 + reach))
    assert found.p == pytest.approx(2 * stats.t.sf(0.03 / error, degrees))
    few = interval(differences, drawn, 0.5)  # fewer degrees than seeds: no fewer than those are counted
    assert few.degrees == pytest.approx(max(0.5, error**4 / (seeds**2 / 2 + documents**2 + own**2)))


@pytest.mark.parametrize("effect", [0.25, -0.25])
def test_runs_that_are_alike_on_every_document_by_hand(effect: float) -> None:
    found = all_alike(effect, documents=8, span=1.0, seeds=3, alpha=0.1)
    unseen = 1 - 0.05 ** (1 / 8)
    assert (found.low, found.high) == (
        pytest.approx((1 - unseen) * effect - unseen),
        pytest.approx((1 - unseen) * effect + unseen),
    )
    assert found.p == pytest.approx(2 * 0.8**8)
    assert (found.degrees, found.seed_error) == (2, 0)
    assert found.document_error == pytest.approx((found.high - found.low) / 4)  # as where 2 errors reach either end
    at_zero = all_alike(effect, documents=8, span=1.0, seeds=3, alpha=found.p)
    assert min(abs(at_zero.low), abs(at_zero.high)) == pytest.approx(0, abs=1e-12)


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
        {"seed_sd": 0.01, "shared_sd": 0.1, "score_sd": 0.1},
        {"seed_sd": 0.005, "shared_sd": 0.05, "source_sd": 0.05, "sources": 30},
    ],
    ids=["seeds", "scores", "documents", "seeds_documents", "all", "sources"],
)
@pytest.mark.parametrize("seeds", [3, 5])
def test_coverage_is_nominal_whatever_the_noise_comes_from(noise: dict, seeds: int) -> None:
    runs, hit, t_hit = 400, 0, 0
    for number in range(runs):
        found = measured(world(np.random.default_rng([seeds, number]), seeds=seeds, **noise), 200)
        hit += found.low <= 0 <= found.high
        t_hit += found.t_low <= 0 <= found.t_high
    low, _ = stats.binom.interval(0.999, runs, 0.94)
    assert low / runs <= hit / runs <= 0.99
    if noise.get("shared_sd") and seeds == 5:
        assert t_hit < hit - 0.1 * runs  # over seeds alone, a lucky draw of documents looks like an effect


def test_two_documents_do_not_pass_for_many() -> None:
    hit = 0
    for number in range(300):
        table = world(np.random.default_rng(number), 5, 2, 1, seed_sd=0.005, shared_sd=0.05, score_sd=0.03)
        found = measured(table, 200)
        hit += found.low <= 0 <= found.high
    assert hit / 300 > 0.87


def test_documents_of_one_group_are_drawn_together():
    """Copies of a document add no proof: the interval is that of the groups, not that of the rows."""
    few = world(np.random.default_rng(5), documents=30, sources=3, shared_sd=0.05)
    at = np.repeat(np.arange(30), 8)
    copies = Panel(
        **{
            **few.__dict__,
            "documents": np.arange(240),
            "source": few.source[at],
            "weights": few.weights[at],
            "values": few.values[:, :, at],
            "group": at,
        }
    )
    plain, grouped, alone = (measured(t) for t in (few, copies, Panel(**{**copies.__dict__, "group": None})))
    assert grouped.degrees == pytest.approx(plain.degrees)
    assert grouped.document_error == pytest.approx(plain.document_error)
    assert alone.document_error < plain.document_error / 2
