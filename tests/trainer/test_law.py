"""Mixing laws: planted ones are found, left-out runs are really left out, intervals cover, proposals keep the caps."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import approx_fprime
from scipy.spatial.distance import cdist

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.trainer.laws import gp
from windtunnel.trainer.laws._form import RIDGES, ridges
from windtunnel.trainer.laws.exponential import Exponential
from windtunnel.trainer.stats import law
from windtunnel.trainer.stats.proposal import Supply, propose, within

NAMES = ("web", "code", "books", "talk")
SLOPES = np.array([-0.5, 1.5, -2.0, 0.3])


def mixes(n, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(4, 0.8), n)


def planted(weights, noise=0.01, seed=0):
    return 2.0 + np.exp(weights @ SLOPES) + np.random.default_rng([seed, 1]).normal(0, noise, len(weights))


def test_a_planted_law_is_found_and_the_forms_are_told_apart():
    weights = mixes(40)
    found = law.fit(weights, planted(weights), NAMES)
    assert found.best.form == "stack"
    assert found.best.rank_correlation > 0.98 and found.best.rmse < 0.02
    others = found.fits[1:]
    assert [f.rmse for f in others] == sorted(f.rmse for f in others) and others[0].form == "exponential"
    assert {f.form: f.rmse for f in found.fits}["linear"] > 5 * found.best.rmse
    others = mixes(200, seed=9)
    assert np.abs(found.predict(others)[0] - planted(others, noise=0)).max() < 0.05


@pytest.mark.parametrize("form", ["linear", "loglinear", "exponential", "gp", "bounded_gp"])
def test_a_flat_world_is_learnt_by_every_form(form):
    weights = mixes(30)
    target = 3 + 0.2 * weights @ SLOPES
    found = law.fit(weights, target, NAMES, form)
    assert found.best.rank_correlation > 0.99
    assert np.abs(found.predict(mixes(50, seed=4))[0] - (3 + 0.2 * mixes(50, seed=4) @ SLOPES)).max() < 0.03


def test_left_out_predictions_are_those_of_a_fit_without_the_run():
    rng = np.random.default_rng(3)
    weights, trust = mixes(12), rng.uniform(0.2, 3, 12)
    target = planted(weights, 0.1)
    for ridge, fit in zip(RIDGES, ridges(weights, target, trust), strict=True):
        for i in range(12):
            stay = np.arange(12) != i
            design = np.column_stack([np.ones(11), weights[stay]])
            scaled = trust[stay] / trust.mean()
            penalty = np.diag([0.0] + [ridge] * 4)
            normal = design.T @ (scaled[:, None] * design) + penalty
            solved = np.linalg.lstsq(normal, design.T @ (scaled * target[stay]), rcond=None)[0]
            assert fit.left_out[i] == pytest.approx(np.append(1.0, weights[i]) @ solved, abs=1e-6)


def test_noise_is_not_predicted():
    ranks = []
    for seed in range(6):
        target = np.random.default_rng(seed).normal(3, 0.1, 30)
        ranks.append(law.fit(mixes(30, seed), target, NAMES, "bounded_gp").best.rank_correlation)
    assert np.mean(ranks) < 0.2


@pytest.mark.parametrize("form", ["exponential", "gp"])
def test_intervals_cover_what_one_more_run_measures(form):
    inside = []
    for seed in range(6):
        weights, new = mixes(30, seed), mixes(100, seed + 100)
        _, low, high = law.fit(weights, planted(weights, 0.05, seed), NAMES, form).predict(new)
        measured = planted(new, 0.05, seed + 100)
        inside.append(((low <= measured) & (measured <= high)).mean())
    assert 0.92 < np.mean(inside) < 0.995


def test_few_mixes_have_no_interval_and_fewer_no_law():
    weights = mixes(12)
    middle, low, high = law.fit(weights, planted(weights), NAMES).predict(weights)
    assert np.isfinite(middle).all() and np.isnan(low).all() and np.isnan(high).all()
    with pytest.raises(InputError, match="at least 5 different mixes, there are 4"):
        law.fit(np.repeat(weights[:4], 3, axis=0), np.repeat(planted(weights[:4]), 3), NAMES)


def test_seeds_of_a_mix_count_as_one_and_weights_are_scaled():
    weights = mixes(10)
    target = planted(weights)
    whole = law.fit(weights, target, NAMES)
    thrice = law.fit(np.repeat(weights * 700, 3, axis=0), np.repeat(target, 3) + np.tile([-0.1, 0, 0.1], 10), NAMES)
    assert len(thrice.target) == 10 and thrice.best.form == whole.best.form
    assert thrice.best.rmse == pytest.approx(whole.best.rmse, rel=1e-4)


def test_more_mixes_than_folds_are_all_left_out_once(monkeypatch):
    monkeypatch.setattr(law, "MOST_FOLDS", 8)
    weights = mixes(30)
    found = law.fit(weights, planted(weights), NAMES, "linear")
    assert len(found.best.folds) == 8 and np.isfinite(found.best.left_out).all()
    assert found.predict(weights)[0].shape == (30,)


def test_the_likelihoods_gradient_is_that_of_its_values():
    weights = mixes(15)
    target = planted(weights)
    roots = np.sqrt(weights)
    seen = gp._Runs(weights, cdist(roots, roots, "sqeuclidean"), (target - target.mean()) / target.std())
    at = np.log([0.7, 0.4, 0.9, 0.1])
    expected = approx_fprime(at, lambda logs: gp._cost(seen, logs)[0], 1e-6)
    assert gp._cost(seen, at)[1] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_the_exponential_law_is_exact_without_noise():
    weights = mixes(25)
    predict = Exponential().fit(weights, planted(weights, noise=0))
    assert np.abs(predict(weights) - planted(weights, noise=0)).max() < 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w, t: (np.where(w == w[2, 1], -0.1, w), t), "row 3: the weight of 'code' is -0.1"),
        (lambda w, t: (np.where(w == w[4, 0], np.nan, w), t), "row 5: the weight of 'web' is nan"),
        (lambda w, t: (w * (np.arange(len(w)) != 6)[:, None], t), "row 7: all weights are zero"),
        (lambda w, t: (w, np.where(t == t[1], np.inf, t)), "row 2: the target is missing"),
    ],
)
def test_what_is_no_mix_is_named(change, message):
    weights = mixes(10)
    with pytest.raises(InputError, match=message):
        law.fit(*change(weights, planted(weights)), NAMES)
    with pytest.raises(InputError, match="above zero"):
        law.fit(weights, planted(weights) - 9, NAMES, "loglinear")
    assert "loglinear" not in [f.form for f in law.fit(weights, planted(weights) - 9, NAMES).fits]
    with pytest.raises(RecipeError, match="did you mean 'exponential'"):
        law.fit(weights, planted(weights), NAMES, "exponental")


def test_a_proposal_is_the_best_mix_within_what_was_run():
    weights = mixes(60)
    best = np.array([0.4, 0.1, 0.3, 0.2])
    target = 2 + 3 * np.square(weights - best).sum(axis=1) + np.random.default_rng(0).normal(0, 0.005, 60)
    found = propose(law.fit(weights, target, NAMES, "gp"))
    assert list(found["weights"].values()) == pytest.approx(best, abs=0.06)
    assert found["predicted"] < target.min() + 0.01 and found["low"] < found["predicted"] < found["high"]
    assert found["best_run"]["target"] == target.min()


def test_a_proposal_keeps_to_the_tokens_there_are():
    weights = mixes(40)
    found = law.fit(weights, planted(weights), NAMES, "exponential")  # `books` alone would be best
    free = propose(found)["weights"]
    assert free["books"] > 0.8
    supply = Supply({"web": 1e9, "code": 1e9, "books": 1e8, "talk": 5e8}, budget=2e9, max_epochs=4)
    held = propose(found, supply)
    assert sum(held["weights"].values()) == pytest.approx(1)
    assert held["epochs"]["books"] == pytest.approx(4) and max(held["epochs"].values()) <= 4 + 1e-6
    assert held["weights"]["web"] > 0.6 and held["predicted"] > propose(found)["predicted"]
    assert propose(found, supply) == held


def test_no_weight_passes_the_largest_that_was_run():
    weights = mixes(40) * 0.4 + 0.15
    found = propose(law.fit(weights, planted(weights), NAMES, "exponential"))["weights"]
    assert all(found[name] <= most + 1e-9 for name, most in zip(NAMES, weights.max(axis=0), strict=True))


def test_a_supply_that_cannot_do_says_what_would():
    weights = mixes(20)
    found = law.fit(weights, planted(weights), NAMES, "linear")
    with pytest.raises(RecipeError, match=r"2\.50 epochs .* above the limit of 2; 3,200 is possible"):
        propose(found, Supply(dict.fromkeys(NAMES, 400.0), 4000, 2))
    with pytest.raises(RecipeError, match="number of tokens of books, talk is missing"):
        propose(found, Supply({"web": 1.0, "code": 1.0}, 1, 4))
    with pytest.raises(RecipeError, match="did you mean 'books'"):
        propose(found, Supply({"boks": 1.0}, 1, 4))


@given(arrays(float, (7, 4), elements=st.floats(0, 1)), arrays(float, 4, elements=st.floats(0.26, 1)))
def test_capped_mixes_sum_to_one_and_keep_the_caps(some, cap):
    some[:, 0] += 1e-3
    found = within(some, cap)
    assert found.sum(axis=1) == pytest.approx(np.ones(7)) and (found <= cap * (1 + 1e-6)).all() and (found >= 0).all()
    free = some / some.sum(axis=1, keepdims=True)
    fits = (free <= cap).all(axis=1)
    assert found[fits] == pytest.approx(free[fits], abs=1e-6)


def test_a_table_of_runs_takes_patterns_and_lists_and_names_what_is_missing(tmp_path):
    weights = mixes(20)
    table = pl.DataFrame({f"w_{name}": weights[:, i] for i, name in enumerate(NAMES)} | {"loss": planted(weights)})
    path = tmp_path / "runs.csv"
    table.with_columns(note=pl.lit("text")).write_csv(path)
    by_pattern = law.law_of_file(path, "w_*", "loss", "linear")
    assert by_pattern.domains == tuple(f"w_{name}" for name in NAMES)
    by_names = law.law_of_file(path, "w_web, w_code,w_books,w_talk", "loss", "linear")
    assert by_names.best.rmse == by_pattern.best.rmse
    for words, message in (
        (("w_*", "los"), "did you mean 'loss'"),
        (("w_wob,w_code", "loss"), "did you mean 'w_web'"),
        (("w_web", "loss"), "two domains at least"),
        (("w_*,loss", "loss"), "both the target and a weight"),
    ):
        with pytest.raises(RecipeError, match=message):
            law.law_of_file(path, *words)
    with pytest.raises(InputError, match="'note' holds String"):
        law.law_of_file(path, "w_*", "note")
    with pytest.raises(InputError, match="no such file"):
        law.law_of_file(tmp_path / "none.csv", "w_*", "loss")
