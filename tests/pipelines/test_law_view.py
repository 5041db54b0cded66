"""`windtunnel law`: the JSON that scripts read, the file of predictions, and what it refuses."""

import json

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from windtunnel.pipelines.cli import app
from windtunnel.schemas.errors import InputError, RecipeError

NAMES = ["w_web", "w_code", "w_books"]


@pytest.fixture
def runs(tmp_path):
    weights = np.random.default_rng(2).dirichlet([1.0, 1.0, 1.0], 26)
    loss = 2 + np.exp(weights @ [-1.0, 0.5, -2.0])
    table = pl.DataFrame({name: weights[:, i] for i, name in enumerate(NAMES)} | {"loss": loss})
    table.head(22).write_csv(tmp_path / "runs.csv")
    table.tail(4).with_columns(name=pl.lit("new")).write_csv(tmp_path / "mixes.csv")
    return tmp_path


def law(runs, *words):
    given = ["law", str(runs / "runs.csv"), "--weights", "w_*", "--target", "loss", *map(str, words)]
    return CliRunner().invoke(app, given)


def test_the_json_is_the_contracts(runs):
    found = json.loads(law(runs, "--json").output)
    assert found["form"] in found["forms"] and found["proposal"] is None
    assert found["loo_rank_correlation"] > 0.9 and 0 < found["loo_rmse"] < 0.1 and found["fit_seconds"] > 0
    supply = ["--tokens", "w_web=5e8,w_code=1e9,w_books=1e8", "--budget", "1e9", "--max-epochs", "2"]
    proposal = json.loads(law(runs, "--form", "exponential", "--propose", "--json", *supply).output)["proposal"]
    assert set(proposal["weights"]) == set(NAMES) and sum(proposal["weights"].values()) == pytest.approx(1)
    assert proposal["epochs"]["w_books"] == pytest.approx(2) and proposal["low"] < proposal["high"]


def test_predictions_stand_beside_the_mixes(runs):
    out = runs / "new" / "predicted.csv"
    result = law(runs, "--predict", runs / "mixes.csv", "--out", out)
    assert result.exit_code == 0 and "error on left-out mixes" in result.output
    mixes, found = pl.read_csv(runs / "mixes.csv"), pl.read_csv(out)
    assert found.select(mixes.columns).equals(mixes)
    assert found.columns == [*mixes.columns, "predicted", "low", "high"]
    assert ((found["predicted"] - found["loss"]).abs() < 0.1).all()
    assert ((found["low"] <= found["predicted"]) & (found["predicted"] <= found["high"])).all()


def test_too_few_mixes_leave_the_interval_empty(runs):
    pl.read_csv(runs / "runs.csv").head(9).write_csv(runs / "runs.csv")
    result = law(runs, "--predict", runs / "mixes.csv", "--out", runs / "out.csv", "--json")
    assert "`low` and `high` are empty, no interval: 95% needs the runs of 19 different mixes" in result.stderr
    assert "there are 9" in result.stderr and json.loads(result.stdout)["mixes"] == 9
    assert pl.read_csv(runs / "out.csv")["low"].null_count() == 4
    told = " ".join(law(runs, "--form", "linear", "--propose").output.split())
    assert "not confirmed" in told and "chosen among many" in told
    assert "19 different mixes, and there are 9" in told and "fresh seeds" in told


def test_a_law_of_fewer_mixes_than_domains_is_fitted_with_a_caution(tmp_path):
    weights = np.random.default_rng(0).dirichlet(np.ones(8), 6)
    names = {f"w_{i}": weights[:, i] for i in range(8)}
    pl.DataFrame(names | {"loss": 2 + weights[:, 0]}).write_csv(tmp_path / "runs.csv")
    assert "Caution: 6 different mixes for 8 domains" in " ".join(law(tmp_path, "--form", "linear").output.split())
    assert json.loads(law(tmp_path, "--form", "linear", "--json").output)["caution"].startswith("6 different mixes")


def test_several_targets_mean_their_mean(runs):
    table = pl.read_csv(runs / "runs.csv")
    table = table.with_columns(loss_a=pl.col("loss") - 0.1, loss_b=pl.col("loss") + 0.1).drop("loss")
    table.write_csv(runs / "two.csv")
    given = ["law", str(runs / "two.csv"), "--weights", "w_*", "--target", "loss_*", "--json"]
    found = json.loads(CliRunner().invoke(app, given).output)
    assert found["targets"] == 2 and found["form"] == "bounded_gp" and found["loo_rank_correlation"] > 0.9


def test_a_law_of_content_says_so_and_predicts_other_domains(runs):
    table = pl.DataFrame({"domain": [*NAMES, "w_wiki"], "c0": [5, 1, 0, 4], "c1": [0, 2, 1, 0], "c2": [1, 0, 3, 2]})
    table.write_csv(runs / "hist.csv")
    hist = ["--coordinates", runs / "hist.csv", "--form", "linear"]
    pl.DataFrame({"w_wiki": [1.0, 0.5], "w_code": [0.0, 0.5]}).write_csv(runs / "mixes.csv")
    result = law(runs, *hist, "--predict", runs / "mixes.csv", "--out", runs / "out.csv")
    assert f"the law is of the shares of 3 content clusters ({runs / 'hist.csv'})" in result.output
    assert pl.read_csv(runs / "out.csv")["predicted"].is_finite().all()
    contract = json.loads(law(runs, *hist, "--json").output)
    assert contract["clusters"] == 3 and contract["content"].startswith("the law is of the shares of 3")
    supply = ["--propose", "--tokens", "w_wiki=9,w_code=9,w_books=9", "--budget", "10"]
    told = law(runs, *hist, *supply).output
    assert "w_wiki" in told and "w_web" in told  # the domains of the proposal, and those of the best run
    table.slice(1).write_csv(runs / "hist.csv")
    error = law(runs, *hist).exception
    assert isinstance(error, RecipeError) and "no row for the domain 'w_web'" in str(error)
    assert json.loads(law(runs, "--json", "--form", "linear").output)["clusters"] is None


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["--form", "cubic"], RecipeError, "no law is called 'cubic'"),
        (["--predict", "mixes.csv"], RecipeError, "go together"),
        (["--tokens", "w_web=1", "--budget", "9"], RecipeError, "add --propose"),
        (["--propose", "--budget", "9"], RecipeError, "needs both"),
        (["--propose", "--budget", "9", "--tokens", "w_web=many"], RecipeError, "not of the form"),
        (["--propose", "--budget", "9", "--tokens", "w_web=-1"], RecipeError, "above zero"),
        (["--predict", "none.csv", "--out", "out.csv"], InputError, "no such file"),
        (["--predict", "wrong.csv", "--out", "out.csv"], RecipeError, "no column is called 'w_web'"),
    ],
)
def test_what_cannot_be_is_said(runs, words, kind, message, monkeypatch):
    monkeypatch.chdir(runs)
    pl.DataFrame({"w_wob": [1.0], "w_code": [0.0], "w_books": [0.0]}).write_csv("wrong.csv")
    error = law(runs, *words).exception
    assert isinstance(error, kind) and message in str(error)
