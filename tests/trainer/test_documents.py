"""The error from held-out documents: the variance of a ratio, its units and its degrees of freedom."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from windtunnel.schemas.results import CLUSTERS_FROM
from windtunnel.trainer.stats.documents import FEWEST, Units, units_of
from windtunnel.trainer.stats.paired import BITS_PER_BYTE, Panel


def panel_of(
    differences: np.ndarray, weights: np.ndarray, source: np.ndarray, group: np.ndarray | None = None
) -> Panel:
    """Two mixes that differ by (seeds, documents) bits per byte."""
    values = np.stack([np.full(differences.shape, 2.0), 2.0 + differences]) * weights
    names = tuple(f"s{k:03}" for k in range(int(source.max()) + 1))
    seeds = tuple(map(str, range(len(differences))))
    at = np.arange(len(weights))
    return Panel(BITS_PER_BYTE, ("raw", "a"), seeds, at, names, source.astype(np.int32), weights, values, group)


def variances(table: Panel) -> tuple[float, float]:
    both, own = units_of(table).variances(table.values[1] - table.values[0])
    return float(both), float(own)


def one_stratum(weights: np.ndarray) -> Units:
    return Units(weights, np.arange(weights.shape[-1]), np.zeros(weights.shape[-1], dtype=np.int64))


def test_equal_weights_give_the_variance_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0, 0.1, (3, 40))
    both, own = variances(panel_of(differences, np.full(40, 500.0), np.zeros(40)))
    mean = differences.mean(axis=0)
    assert both == pytest.approx(mean.var(ddof=1) / 40)
    assert own == pytest.approx((differences - mean).var(axis=1, ddof=1).mean() / 40 / 2)


def test_the_variance_agrees_with_scipys_bootstrap_of_a_ratio() -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(200, 4000, 300).astype(float)
    differences = rng.normal(0.02, 0.1, (1, 300))
    both, _ = variances(panel_of(differences, weights, np.zeros(300)))

    def ratio(difference, weight, axis):
        return (difference * weight).sum(axis) / weight.sum(axis)

    known = stats.bootstrap(
        (differences[0], weights), ratio, paired=True, n_resamples=4000, method="percentile", vectorized=True,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    assert np.sqrt(both) == pytest.approx(known.standard_error, rel=0.05)


def test_the_variance_is_unbiased_where_one_document_holds_half_of_the_bytes() -> None:
    rng = np.random.default_rng(1)
    weights = np.r_[50.0, np.ones(50)]
    units = one_stratum(weights)
    differences = rng.normal(0, 1, (20_000, 1, 51)) * weights
    both, own = units.variances(differences)
    true = np.square(weights).sum() / weights.sum() ** 2
    assert both.mean() == pytest.approx(true, rel=0.03)
    assert not own.any()


def test_variance_parts_come_back() -> None:
    rng = np.random.default_rng(6)
    weights = rng.integers(200, 4000, 3000).astype(float)
    differences = rng.normal(0, 0.3, 3000) + rng.normal(0, 0.6, (40, 3000))
    both, own = variances(panel_of(differences, weights, np.zeros(3000)))
    unit = (weights**2).sum() / weights.sum() ** 2
    assert own == pytest.approx(0.6**2 * unit / 40, rel=0.05)
    assert both - own == pytest.approx(0.3**2 * unit, rel=0.1)


def test_strata_add_up_and_their_differences_do_not_count() -> None:
    rng = np.random.default_rng(2)
    source = np.arange(90) % 3
    weights = rng.integers(200, 4000, 90).astype(float)
    differences = rng.normal(0, 0.1, (2, 90)) + np.array([-5.0, 0.0, 5.0])[source]
    whole, _ = variances(panel_of(differences, weights, source))
    parts = []
    for k in range(3):
        at = source == k
        share = weights[at].sum() / weights.sum()
        parts.append(share**2 * variances(panel_of(differences[:, at], weights[at], np.zeros(30)))[0])
    assert whole == pytest.approx(sum(parts))


def test_degrees_are_those_of_documents_in_strata_and_of_sources_in_clusters() -> None:
    few, many = np.arange(120) % 4, np.arange(200) % CLUSTERS_FROM
    equal = units_of(panel_of(np.zeros((2, 120)), np.ones(120), few))
    assert (float(equal.degrees), float(equal.kish), equal.count) == (pytest.approx(116), pytest.approx(120), 120)
    clusters = units_of(panel_of(np.zeros((2, 200)), np.ones(200), many))
    assert (float(clusters.degrees), clusters.count) == (pytest.approx(CLUSTERS_FROM - 1), CLUSTERS_FROM)
    large = one_stratum(np.r_[1000.0, np.ones(9)])
    assert (float(large.degrees), float(one_stratum(np.ones(3)).degrees)) == (FEWEST, 2)
    assert float(one_stratum(np.ones(1)).degrees) == 0
    half = one_stratum(np.r_[np.ones(100), np.full(4, 25.0)])  # four documents hold half of the bytes
    assert 10 < float(half.degrees) < 20


def test_documents_of_one_group_are_one_unit() -> None:
    """Copies of a document add no proof: the variance is that of the groups, not that of the rows."""
    rng = np.random.default_rng(5)
    weights, source = rng.integers(200, 4000, 30).astype(float), np.arange(30) % 3
    differences = rng.normal(0, 0.05, (3, 30))
    at = np.repeat(np.arange(30), 8)
    few = panel_of(differences, weights, source)
    copies = panel_of(differences[:, at], weights[at], source[at], at)
    assert variances(copies) == pytest.approx(variances(few))
    assert float(units_of(copies).degrees) == pytest.approx(float(units_of(few).degrees))
    assert variances(panel_of(differences[:, at], weights[at], source[at]))[0] < variances(few)[0] / 4


def test_sources_of_a_single_document_are_strata_together() -> None:
    rng = np.random.default_rng(5)
    source = np.r_[np.zeros(10), np.ones(10), 2, 3]
    table = panel_of(rng.normal(0, 0.05, (2, 22)), np.ones(22), source)
    assert float(units_of(table).degrees) > 10
    assert len(np.unique(units_of(table).stratum)) == 3
    lonely = panel_of(rng.normal(0, 0.05, (2, 21)), np.ones(21), source[:21])
    assert len(np.unique(units_of(lonely).stratum)) == 2
    alone = panel_of(np.zeros((2, 2)), np.ones(2), np.zeros(2), np.zeros(2, dtype=np.int64))
    assert units_of(alone).count == 1 and float(units_of(alone).degrees) == 0


def test_tables_of_one_layout_are_computed_together() -> None:
    rng = np.random.default_rng(7)
    weights, source = rng.pareto(1.0, (4, 60)) + 1, np.arange(60) % 5
    differences = rng.normal(0, 1, (4, 3, 60)) * weights[:, None]
    together = Units(weights, np.arange(60), source)
    both, own = together.variances(differences)
    for k in range(4):
        alone = Units(weights[k], np.arange(60), source)
        assert (both[k], own[k]) == pytest.approx(alone.variances(differences[k]))
        assert together.degrees[k] == pytest.approx(alone.degrees)
