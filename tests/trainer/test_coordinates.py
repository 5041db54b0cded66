"""Laws of content: they outlive a new division of the text into domains, and refuse histograms that are none."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.trainer.stats import law
from windtunnel.trainer.stats.coordinates import Coordinates
from windtunnel.trainer.stats.proposal import BEYOND, Supply, propose

NAMES = ("w_web", "w_code", "w_books", "w_talk", "w_news")
HALVES = ("w_web_a", "w_web_b", *NAMES[1:])
CLUSTERS = 12


@pytest.fixture(autouse=True)
def few_folds(monkeypatch):
    monkeypatch.setattr(law, "MOST_FOLDS", 5)


def world(seed, known=False):
    """Return the coordinates of the domains and of the halves of the first, 40 mixes, and the loss of content.

    The content of the halves is drawn like that of domains, or it is `known`: that of mixes of the other domains.
    """
    rng = np.random.default_rng([seed, CLUSTERS])
    shares = rng.dirichlet(np.full(CLUSTERS, 0.5), 5)
    halves = rng.dirichlet(np.ones(4), 2) @ shares[1:] if known else rng.dirichlet(np.full(CLUSTERS, 0.5), 2)
    shares[0] = halves.mean(axis=0)
    slopes = 1.5 * rng.normal(size=CLUSTERS)
    coordinates = Coordinates((*NAMES, *HALVES[:2]), np.concatenate([shares, halves]), "hist.csv")
    return coordinates, rng.dirichlet(np.full(5, 0.8), 40), lambda content: 2 + np.exp(content @ slopes)


def ranks_of_a_split(seed, known):
    """Return the rank correlations, with the true losses of mixes of the halves, of laws of content and of weights."""
    coordinates, weights, loss = world(seed, known)
    rng = np.random.default_rng(seed)
    target = loss(coordinates.at(weights, NAMES)) + rng.normal(0, 0.005, 40)
    new = rng.dirichlet([1.5, 1.5, 0.4, 0.4, 0.4, 0.4], 200)
    merged = np.column_stack([new[:, 0] + new[:, 1], new[:, 2:]])
    by_content = law.fit(weights, target, NAMES, "exponential", coordinates).predict(new, domains=HALVES)[0]
    by_weights = law.fit(weights, target, NAMES, "exponential").predict(merged)[0]
    true = loss(coordinates.at(new, HALVES))
    return [spearmanr(predicted, true).statistic for predicted in (by_content, by_weights)]


def test_a_law_of_content_predicts_mixes_of_domains_that_were_divided():
    found = np.array([ranks_of_a_split(seed, known=True) for seed in range(4)])
    assert found[:, 0].min() > 0.99 and found[:, 1].mean() < 0.93
    new_content = np.array([ranks_of_a_split(seed, known=False) for seed in range(6)]).mean(axis=0)
    assert new_content[0] > 0.88 and new_content[0] > new_content[1] + 0.1


@pytest.mark.parametrize("form", ["exponential", "stack"])
def test_a_division_into_halves_alike_changes_nothing(form):
    coordinates, weights, loss = world(1)
    shares = np.concatenate([coordinates.shares[[0, 0]], coordinates.shares[1:5]])
    alike = Coordinates((*HALVES, NAMES[0]), np.concatenate([shares, coordinates.shares[:1]]), "hist.csv")
    rng = np.random.default_rng(5)
    target = loss(coordinates.at(weights, NAMES)) + rng.normal(0, 0.01, 40)

    def divided(mixes):
        part = rng.random(len(mixes))
        return np.column_stack([part * mixes[:, 0], (1 - part) * mixes[:, 0], mixes[:, 1:]])

    whole = law.fit(weights, target, NAMES, form, alike)
    halves = law.fit(divided(weights), target, HALVES, form, alike)
    new = rng.dirichlet(np.ones(5), 50)
    for predicted, same, later in zip(
        whole.predict(new),
        whole.predict(divided(new), domains=HALVES),
        halves.predict(divided(new)),
        strict=True,
    ):
        assert same == pytest.approx(predicted, abs=1e-9)
        assert later == pytest.approx(predicted, abs=1e-4)
    assert halves.best.rmse == pytest.approx(whole.best.rmse, rel=1e-3)
    twice = law.fit(
        np.concatenate([divided(weights), divided(weights)]), np.tile(target, 2), HALVES, "exponential", alike
    )
    assert len(twice.target) == 40 and len(twice.runs.target) == 80
    assert twice.at(twice.weights) == pytest.approx(alike.at(weights, NAMES)[np.lexsort(whole.at(weights).T[::-1])])


def test_a_proposal_is_of_the_domains_of_the_tokens_and_within_the_runs_content():
    coordinates, weights, loss = world(2, known=True)
    found = law.fit(weights, loss(coordinates.at(weights, NAMES)), NAMES, "exponential", coordinates)
    assert "12 content clusters (hist.csv)" in str(found.content) and "in 3 of 11 directions" in str(found.content)
    own = propose(found)
    assert list(own["weights"]) == list(NAMES) and set(own["best_run"]["weights"]) == set(NAMES)
    capped = propose(found, Supply(dict.fromkeys(NAMES, 0.3), 1, 1))
    assert max(capped["weights"].values()) < 0.3 + 1e-6
    supply = Supply(dict.fromkeys(HALVES, 0.4), 1, 1)
    mix = propose(found, supply)
    chosen = np.array([list(mix["weights"].values())])
    assert tuple(mix["weights"]) == HALVES and chosen.sum() == pytest.approx(1) and (chosen >= 0).all()
    assert max(mix["epochs"].values()) < 1 + 1e-6
    content = found.at(chosen, HALVES)
    assert (content <= BEYOND * found.at(found.weights).max(axis=0) + 1e-9).all()
    middle = found.at(np.full((1, 6), 1 / 6), HALVES)
    assert loss(content)[0] < loss(middle)[0]
    assert mix["uncorrected"] == pytest.approx(found.predict(chosen, domains=HALVES)[0][0])
    with pytest.raises(RecipeError, match="no row for the domain 'w_wob': did you mean"):
        propose(found, Supply({"w_wob": 1.0, "w_code": 1.0}, 1, 4))
    with pytest.raises(RecipeError, match="the number of tokens of w_talk, w_news is missing"):
        propose(found, Supply(dict.fromkeys(NAMES[:3], 1.0), 1, 4))


def test_content_unlike_that_of_the_runs_is_not_proposed():
    shares = np.array([[0.8, 0.2, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 1.0], [0.5, 0.4, 0.1]])
    coordinates = Coordinates(("a", "b", "new", "near"), shares, "hist.csv")
    weights = np.column_stack([np.linspace(0, 1, 12), np.linspace(1, 0, 12)])
    found = law.fit(weights, 3 + weights[:, 0], ("a", "b"), "linear", coordinates)
    with pytest.raises(RecipeError, match=r"no mix of new, near within the limits .* content like that of the runs"):
        propose(found, Supply({"new": 1.0, "near": 1.0}, 1, 4))
    mix = propose(found, Supply({"new": 1.0, "a": 1.0, "b": 1.0}, 1, 4))
    assert mix["weights"]["new"] == pytest.approx(0, abs=1e-6) and mix["weights"]["b"] > 0.9


def test_a_table_to_predict_may_have_other_domains(tmp_path):
    coordinates, weights, loss = world(3)
    table = pl.DataFrame({"domain": coordinates.domains}).hstack(pl.DataFrame(7 * coordinates.shares))
    table.write_csv(tmp_path / "hist.csv")
    runs = pl.DataFrame(weights, list(NAMES)).with_columns(loss=loss(coordinates.at(weights, NAMES)))
    runs.write_csv(tmp_path / "runs.csv")
    for wanted in ("w_*", ",".join(NAMES)):
        found = law.law_of_file(tmp_path / "runs.csv", wanted, "loss", "linear", tmp_path / "hist.csv")
        assert found.coordinates and found.coordinates.shares == pytest.approx(coordinates.shares)
        halves = pl.DataFrame(np.random.default_rng(0).dirichlet(np.ones(6), 8), list(HALVES)).with_columns(loss=9.0)
        predicted = law.with_predictions(found, halves)["predicted"].to_numpy()
        assert predicted == pytest.approx(found.predict(halves.select(HALVES).to_numpy(), domains=HALVES)[0])
        assert law.with_predictions(found, runs)["predicted"].to_numpy() == pytest.approx(found.predict(weights)[0])
        with pytest.raises(RecipeError, match="no column is called 'w_web'"):
            law.with_predictions(found, runs.drop("w_web"))
    found = law.law_of_table(runs, "w_*", "loss", "linear", coordinates=coordinates)
    with pytest.raises(RecipeError, match=r"hist\.csv: no row for the domain 'w_wobs'"):
        law.with_predictions(found, runs.rename({"w_web": "w_wobs"}))
    with pytest.raises(RecipeError, match="no row for the domain 'w_web'"):
        law.law_of_table(runs, "w_*", "loss", "linear", coordinates=Coordinates.of_table(table.slice(1)))


@pytest.mark.parametrize(
    ("columns", "kind", "message"),
    [
        ({"name": ["x", "y"], "a": [1, 2], "b": [1, 2]}, RecipeError, "no column is called 'domain'"),
        ({"domain": ["x", "y"], "a": [1, 2]}, RecipeError, "two clusters at least"),
        ({"domain": ["x", "y"], "a": [1, 2], "b": ["1", "2"]}, InputError, "column 'b' holds String, not numbers"),
        ({"domain": ["x", None], "a": [1, 2], "b": [1, 2]}, InputError, "row 2 names no domain"),
        ({"domain": ["x", "x"], "a": [1, 2], "b": [1, 2]}, InputError, "'x' has two rows, 1 and 2"),
        ({"domain": ["x", "y"], "a": [1, 2], "b": [1, -2]}, InputError, "row 2, 'y': the share of 'b' is -2.0"),
        ({"domain": ["x", "y"], "a": [None, 2], "b": [1, 2]}, InputError, "row 1, 'x': the share of 'a' is nan"),
        (
            {"domain": ["x", "y"], "a": [1, float("inf")], "b": [1, 2]},
            InputError,
            "row 2, 'y': the share of 'a' is inf",
        ),
        ({"domain": ["x", "y"], "a": [1, 0], "b": [1, 0]}, InputError, "row 2, 'y': all shares are zero"),
    ],
)
def test_what_is_no_histogram_is_named(columns, kind, message):
    with pytest.raises(kind, match=f"hist.csv: .*{message}"):
        Coordinates.of_table(pl.DataFrame(columns, strict=False), "hist.csv")


def test_domains_of_one_content_have_no_law():
    weights = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    alike = Coordinates(("a", "b", "c"), np.full((3, 2), 0.5), "hist.csv")
    with pytest.raises(InputError, match="at least 5 different mixes, there are 1 by their content"):
        law.fit(weights, weights[:, 0], ("a", "b", "c"), "linear", alike)
