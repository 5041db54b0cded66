"""Laws bounded below, what they do with odd runs, and proposals that are honest about having been chosen."""

import numpy as np
import polars as pl
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import spearmanr

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.trainer.laws import _excess
from windtunnel.trainer.laws._extrapolation import extrapolating
from windtunnel.trainer.laws.bounded_gp import BoundedGP
from windtunnel.trainer.laws.exponential import Exponential
from windtunnel.trainer.laws.gp import GaussianProcess
from windtunnel.trainer.laws.stack import PULL, Stack, shares
from windtunnel.trainer.stats import law
from windtunnel.trainer.stats.proposal import propose
from windtunnel.trainer.stats.repeats import Noise, Runs, noise_of

DOMAINS = 17
NAMES = tuple(f"d{i}" for i in range(DOMAINS))
USEFUL = np.concatenate([[1.0, 0.5, 0.2], np.full(DOMAINS - 3, 0.02)])


def mixes(n, seed=0, domains=DOMAINS):
    return np.random.default_rng(seed).dirichlet(np.full(domains, 0.5), n)


def saturating(weights):
    return 1.5 + 0.5 * (weights @ USEFUL + 0.02) ** -0.3


def measured(weights, noise=0.01, seed=0):
    return saturating(weights) + np.random.default_rng([seed, 2]).normal(0, noise, len(weights))


@pytest.mark.parametrize("parts", [("linear",), ("linear", "root", "smooth"), ("smooth",)])
def test_the_posteriors_gradient_is_that_of_its_values(parts):
    prior = _excess.Excess(parts, relevance=0.5)
    runs = _excess._Runs(mixes(14), measured(mixes(14)), parts, len(prior.names))
    runs.trust = np.random.default_rng(1).uniform(0.3, 1, 14)
    mean, deviation = prior._prior(DOMAINS)
    at = mean + np.random.default_rng(0).normal(0, 0.3, len(mean))
    expected = approx_fprime(at, lambda p: _excess._cost(runs, p, mean, deviation)[0], 1e-6)
    assert _excess._cost(runs, at, mean, deviation)[1] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_few_runs_of_many_domains_rank_what_was_not_run():
    weights, new = mixes(34), mixes(200, seed=5)
    ranked = {form: spearmanr(form.fit(weights, measured(weights))(new), saturating(new)).statistic
              for form in (BoundedGP(), GaussianProcess())}  # fmt: skip
    bounded, free = ranked.values()
    assert bounded > 0.95 and bounded > free


@pytest.mark.parametrize("form", [Exponential(), BoundedGP(), Stack()])
def test_predictions_stay_above_a_floor_and_rise_far_outside(form):
    weights = mixes(40)
    target = measured(weights)
    predicted = form.fit(weights, target)(np.concatenate([np.eye(DOMAINS), mixes(300, seed=3)]))
    assert np.isfinite(predicted).all() and predicted.min() > target.min() - 2 * np.ptp(target)


@pytest.mark.parametrize("form", [Exponential(), BoundedGP(), Stack()])
def test_an_outlier_loses_weight(form):
    weights, new = mixes(60, domains=4), mixes(100, seed=1, domains=4)
    target = 2 + np.exp(weights @ [-1.0, 0.5, 1.0, 0.0])
    true, wrong = 2 + np.exp(new @ [-1.0, 0.5, 1.0, 0.0]), target.copy()
    wrong[7] += 2 * np.ptp(target)
    assert np.abs(form.fit(weights, wrong)(new) - true).mean() < 0.1 * np.ptp(true)


@pytest.mark.parametrize("form", ["exponential", "bounded_gp", "stack", "gp", "linear", "loglinear"])
def test_a_constant_target_is_predicted_and_said(form):
    found = law.fit(mixes(24), np.full(24, 2.5), NAMES, form)
    middle, low, high = found.predict(mixes(5, seed=1))
    assert [middle, low, high] == [pytest.approx(np.full(5, 2.5), abs=1e-6)] * 3
    assert found.best.rank_correlation == 0 and found.caution and "same target" in found.caution


@pytest.mark.parametrize("form", ["exponential", "bounded_gp"])
def test_negative_targets_are_shifted_not_refused(form):
    weights, new = mixes(30), mixes(50, seed=2)
    above = law.fit(weights, measured(weights), NAMES, form).predict(new)[0]
    below = law.fit(weights, measured(weights) - 9, NAMES, form).predict(new)[0]
    assert below == pytest.approx(above - 9, abs=0.01)


def test_fewer_runs_than_domains_are_fitted_and_said():
    weights = mixes(9)
    found = law.fit(weights, measured(weights), NAMES, "stack")
    assert found.caution and found.caution.startswith("9 different mixes for 17 domains")
    assert law.contract(found)["caution"] == found.caution and found.best.extrapolation is None
    assert np.isfinite(found.predict(mixes(20, seed=1))[0]).all()
    assert law.fit(mixes(20), measured(mixes(20)), NAMES, "linear").caution is None


def test_one_mix_run_many_times_is_one_mix():
    weights = np.repeat(mixes(6, domains=4), 5, axis=0)
    target = np.random.default_rng(0).normal(2, 0.1, 30)
    found = law.fit(weights, target, NAMES[:4], "stack")
    assert len(found.target) == 6 and found.no_interval


def test_repeats_show_where_the_noise_is():
    of, predicted = np.repeat(np.arange(40), 4), np.linspace(2, 4, 40)
    loud = np.exp(0.5 * (predicted - 3) / predicted.std())
    target = predicted[of] + 0.05 * loud[of] * np.random.default_rng(0).normal(size=160)
    noise = noise_of(Runs(target, of), predicted)
    assert noise.at(predicted)[-1] / noise.at(predicted)[0] == pytest.approx(loud[-1] / loud[0], rel=0.5)
    once = noise_of(Runs(predicted, np.arange(40)), predicted)
    assert once == Noise() and (once.at(predicted) == 1).all()


def test_intervals_of_repeated_mixes_cover_single_runs():
    inside = []
    for seed in range(5):
        weights, new = mixes(60, seed, 4), mixes(200, seed + 50, 4)
        rng = np.random.default_rng(seed)
        truth = lambda w: 2 + np.exp(w @ [-1.0, 0.5, 1.0, 0.0])  # noqa: E731
        runs = np.repeat(weights, 3, axis=0)
        found = law.fit(runs, truth(runs) + rng.normal(0, 0.1, len(runs)), NAMES[:4], "exponential")
        _, low, high = found.predict(new)
        fresh = truth(new) + rng.normal(0, 0.1, 200)
        inside.append(((low <= fresh) & (fresh <= high)).mean())
    assert 0.91 < np.mean(inside) < 0.99


def test_folds_that_extrapolate_leave_out_corners_and_the_lowest():
    weights, target = mixes(40), measured(mixes(40))
    *corners, lowest = extrapolating(weights, target)
    assert np.sum(corners, axis=0).tolist() == [1] * 40 and max(corner.sum() for corner in corners) <= 16
    assert lowest.sum() == 8 and target[lowest].max() <= target[~lowest].min()
    assert extrapolating(weights[:9], target[:9]) == []


def test_shares_go_to_the_member_that_errs_less():
    rng = np.random.default_rng(0)
    small, large = rng.normal(0, 0.1, 200), rng.normal(0, 1, 200)
    assert shares(np.column_stack([small, large])) == pytest.approx([1, 0], abs=0.02)
    assert shares(np.column_stack([large, small]))[1] > 1 / (1 + PULL) - 0.1
    assert shares(np.zeros((5, 2))).tolist() == [1, 0]


def test_a_proposal_is_unconfirmed_and_its_interval_holds_the_truth():
    inside, beats, optimism = [], [], []
    for seed in range(3):
        weights = mixes(40, seed)
        found = propose(law.fit(weights, measured(weights, 0.05, seed), NAMES, "bounded_gp"))
        true = saturating(np.array([list(found["weights"].values())]))[0]
        best = saturating(weights[[np.argmin(measured(weights, 0.05, seed))]])[0]
        inside.append(found["low"] <= true <= found["high"])
        beats.append(true < best)
        optimism.append(found["predicted"] - found["uncorrected"])
        assert found["status"] == "unconfirmed" and found["low"] < found["predicted"] < found["high"]
    assert sum(inside) == 3 and sum(beats) >= 2 and np.mean(optimism) > 0


def test_a_mean_of_targets_is_learnt_by_its_parts():
    weights, new = mixes(34), mixes(200, seed=5)
    useful = np.eye(DOMAINS)[:8] + 0.05
    losses = lambda w: (w @ useful.T + 0.02) ** -0.3  # noqa: E731
    noisy = losses(weights) + np.random.default_rng(0).normal(0, 0.02, (34, 8))
    names = {name: weights[:, i] for i, name in enumerate(NAMES)}
    table = pl.DataFrame(names | {f"bpb_{i}": noisy[:, i] for i in range(8)})
    found = law.law_of_table(table, NAMES, "bpb_*")
    assert law.contract(found)["targets"] == 8 and sorted(found.target) == pytest.approx(sorted(noisy.mean(axis=1)))
    middle, low, high = found.predict(new)
    whole = law.fit(weights, noisy.mean(axis=1), NAMES, "bounded_gp").predict(new)[0]
    true = losses(new).mean(axis=1)
    assert spearmanr(middle, true).statistic > max(0.95, spearmanr(whole, true).statistic)
    assert ((low <= true) & (true <= high)).mean() > 0.85
    with pytest.raises(RecipeError, match="no column is called 'los_\\*'"):
        law.law_of_table(table, NAMES, "los_*")


def test_what_makes_a_law_less_than_it_seems_is_told() -> None:
    rng = np.random.default_rng(3)
    mixes = rng.dirichlet(np.ones(4), 24)
    names = list("abcd")
    noise = law.fit(mixes, rng.normal(2, 0.01, 24), names, "linear")
    assert "no better than by the mean of all" in (noise.caution or "")
    target = 2 + mixes @ np.array([0.1, 0.5, -0.2, 0.0])
    target[7] = 1e6
    assert "see whether that run diverged" in (law.fit(mixes, target, names, "linear").caution or "")
    almost = 0.97 * np.eye(4)[np.arange(24) % 4] + 0.03 * mixes
    assert "almost one domain alone" in (law.fit(almost, almost @ np.arange(4.0), names, "linear").caution or "")
    with pytest.raises(InputError, match=r"row 3: the weights sum to 0\.4, those of most rows to 1"):
        law.fit(np.concatenate([mixes[:2], 0.4 * mixes[2:3], mixes[3:]]), target, names, "linear")
    runs = pl.DataFrame(mixes, names).with_columns(loss=pl.Series(noise.target[: len(mixes)]))
    found = law.law_of_table(runs, names, "loss", "linear")
    with pytest.raises(InputError, match=r"most rows sum to 0\.8, those of the runs to 1: name all domains"):
        law.with_predictions(found, pl.DataFrame(0.8 * mixes, names))
    for unit in (1, 100):
        same = [law.with_predictions(found, pl.DataFrame(k * mixes, names))["predicted"] for k in (1, unit)]
        assert same[0].to_list() == pytest.approx(same[1].to_list())
    with pytest.raises(InputError, match="above 1e100"):
        law.fit(mixes, target * 1e300, names, "linear")
    with pytest.raises(InputError, match="nothing to choose a mix by"):
        propose(law.fit(mixes, np.full(24, 2.0), names, "linear"))
