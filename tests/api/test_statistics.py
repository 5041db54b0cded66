"""Compare and law give the numbers that the commands print as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import windtunnel as wt
from windtunnel.pipelines.cli import app


def printed(*words: Any) -> Any:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


@pytest.fixture
def scores() -> pl.DataFrame:
    draw = np.random.default_rng(4)
    rows = [
        {"mix": mix, "seed": seed, "document": f"d{d}", "bytes": 100 + d, "nats": 70 + d + shift + draw.normal(0, 0.3)}
        for seed in range(4)
        for mix, shift in (("old", 0.0), ("new", -3.0), ("same", 0.0))
        for d in range(30)
    ]
    return pl.DataFrame(rows)


def test_compare_gives_what_the_command_prints(scores: pl.DataFrame, tmp_path: Path) -> None:
    scores.write_csv(tmp_path / "scores.csv")
    told = printed("effects", tmp_path / "scores.csv", "--baseline", "old", "--margin", 0.01, "--json")
    for given in (scores, scores.lazy(), scores.to_arrow(), scores.to_pandas(), tmp_path / "scores.csv"):
        found = wt.compare(given, "old", margin=0.01)
        assert [effect.contract() for effect in found] == told
    assert (found[0].mix, found[0].verdict) == ("new", "better")
    narrow = wt.compare(scores, "old", interval=0.8)[0]
    assert narrow.low is not None and found[0].low is not None and narrow.low > found[0].low
    assert [e.interval for e in wt.compare(scores, "old", after=[3])] == [0.99, 0.99]
    first = wt.compare(scores, "old", looks=[4, 8], spending="pocock")[0]
    assert first.interval < wt.compare(scores, "old", looks=[4, 8])[0].interval


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ({"baseline": "odl"}, wt.RecipeError, "no mix is called 'odl' in the scores: did you mean 'old'"),
        ({"margin": -1}, wt.RecipeError, "margin: Input should be greater than or equal to 0"),
        ({"interval": 95}, wt.RecipeError, "interval: Input should be less than 1"),
        ({"looks": [5, 3]}, wt.RecipeError, "looks are growing numbers"),
        ({"looks": [2, 3]}, wt.InputError, "the looks end at 3 seeds and there are 4"),
        ({"after": [4]}, wt.RecipeError, "it names only looks with fewer seeds than now"),
        ({"after": [2], "looks": [2, 4]}, wt.RecipeError, "give one of them"),
        ({"spending": "all"}, wt.RecipeError, "spending: Input should be 'power'"),
    ],
)
def test_wrong_arguments_of_compare(scores: pl.DataFrame, words: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        wt.compare(scores, **{"baseline": "old", **words})


def test_scores_that_cannot_be_paired(scores: pl.DataFrame) -> None:
    with pytest.raises(wt.InputError, match="the scores lack the column 'nats'; available columns: mix, seed"):
        wt.compare(scores.drop("nats"), "old")
    with pytest.raises(wt.InputError, match="are duplicated"):
        wt.compare(pl.concat([scores, scores]), "old")
    with pytest.raises(wt.InputError, match="there is no such file"):
        wt.compare("none.csv", "old")
    with pytest.raises(wt.InputError, match="a dict is no frame"):
        wt.compare({}, "old")  # type: ignore[arg-type]


NAMES = ["w_web", "w_code", "w_books"]


@pytest.fixture
def runs() -> pl.DataFrame:
    weights = np.random.default_rng(2).dirichlet([1.0, 1.0, 1.0], 26)
    loss = 2 + np.exp(weights @ [-1.0, 0.5, -2.0])
    return pl.DataFrame({name: weights[:, i] for i, name in enumerate(NAMES)} | {"loss": loss})


def test_law_gives_what_the_command_prints(runs: pl.DataFrame, tmp_path: Path) -> None:
    runs.head(22).write_parquet(tmp_path / "runs.parquet")
    runs.tail(4).write_parquet(tmp_path / "mixes.parquet")
    tokens = {"w_web": 5e8, "w_code": 1e9, "w_books": 1e8}
    words = ("law", tmp_path / "runs.parquet", "--weights", "w_*", "--target", "loss", "--form", "linear")
    option = ",".join(f"{name}={n}" for name, n in tokens.items())
    told = printed(*words, "--json", "--propose", "--tokens", option, "--budget", 1e9, "--max-epochs", 2)
    for given, columns in (
        (runs.head(22), "w_*"),
        (runs.head(22).to_arrow(), NAMES),
        (tmp_path / "runs.parquet", NAMES),
    ):
        law = wt.law(given, columns, form="linear")
        found = {**law.summary(), "proposal": law.propose(tokens, 1e9, 2)}
        assert {**found, "fit_seconds": 0} == {**told, "fit_seconds": 0}
    out = tmp_path / "out.csv"
    assert CliRunner().invoke(app, [*map(str, words), "--predict", str(tmp_path / "mixes.parquet"), "--out", str(out)])
    for name in ("predicted", "low", "high"):
        assert law.predict(runs.tail(4))[name].to_list() == pytest.approx(pl.read_csv(out)[name].to_list())
    assert "MixingLaw: linear in w_web" in repr(law)


def test_a_law_of_content_takes_a_frame_or_a_file(runs: pl.DataFrame, tmp_path: Path) -> None:
    table = pl.DataFrame({"domain": [*NAMES, "w_wiki"], "c0": [5, 1, 0, 4], "c1": [0, 2, 1, 0], "c2": [1, 0, 3, 2]})
    table.write_csv(tmp_path / "hist.csv")
    mixes = pl.DataFrame({"w_wiki": [1.0, 0.5], "w_code": [0.0, 0.5]})
    words = ("--coordinates", tmp_path / "hist.csv", "--form", "linear", "--json")
    runs.write_csv(tmp_path / "runs.csv")
    told = printed("law", tmp_path / "runs.csv", "--weights", "w_*", "--target", "loss", *words)
    for hist in (table, table.to_arrow(), table.to_pandas(), tmp_path / "hist.csv"):
        law = wt.law(runs, "w_*", form="linear", coordinates=hist)
        assert "by their content in 3 clusters" in repr(law) and law.summary()["loo_rmse"] == told["loo_rmse"]
        assert law.predict(mixes)["predicted"].is_finite().all()
        assert set(law.propose({"w_wiki": 9, "w_code": 9, "w_books": 9}, 10)["weights"]) == {"w_wiki", *NAMES[1:]}
    with pytest.raises(wt.InputError, match="coordinates: 'w_web' has two rows, 1 and 5"):
        wt.law(runs, "w_*", coordinates=pl.concat([table, table.head(1)]))
    with pytest.raises(wt.InputError, match="a int is no frame"):
        wt.law(runs, "w_*", coordinates=3)  # type: ignore[arg-type]


def test_arguments_of_another_type_are_named(scores: pl.DataFrame, runs: pl.DataFrame) -> None:
    compare: Any = wt.compare
    law: Any = wt.law
    fit: Any = wt.law(runs, "w_*")
    wrong = {
        "looks is 3: give a list": lambda: compare(scores, "a", looks=3),
        "after is 3: give a list": lambda: compare(scores, "a", after=3),
        "weights is 3: give a string or a list": lambda: law(runs, 3),
        "columns of the weights are strings, and 3 is none": lambda: law(runs, [3]),
        "target is None": lambda: law(runs, "w_*", None),
        "a law is written as a name or as": lambda: law(runs, "w_*", form=3),
        r"tokens is \[1\]: give a mapping": lambda: fit.propose([1], 1),
        "the tokens of 'w_web': a number above zero is needed": lambda: fit.propose({"w_web": "x"}, 1),
        "budget is 'x'": lambda: fit.propose({"w_web": 1}, "x"),
        "max_epochs is None": lambda: fit.propose({"w_web": 1}, 5, None),
    }
    for message, call in wrong.items():
        with pytest.raises(wt.RecipeError, match=message):
            call()
    with pytest.raises(wt.InputError, match="the column 'group' of the scores holds List"):
        compare(scores.with_columns(group=pl.lit(["g"])), "a")


def test_predictions_come_in_the_frames_type(runs: pl.DataFrame) -> None:
    law = wt.law(runs, "w_*", form="linear")
    table = pa.table({name: pa.array(runs[name].to_list(), pa.float32()) for name in NAMES})
    found = law.predict(table)
    assert isinstance(found, pa.Table) and found.column_names == [*NAMES, "predicted", "low", "high"]
    assert found.schema.field(0).type == pa.float32()
    assert isinstance(law.predict(runs.lazy()), pl.LazyFrame)
    again = law.predict(law.predict(runs.to_arrow()))
    assert again.column_names == [*runs.columns, "predicted", "low", "high"]
    pandas = runs.head(2).to_pandas().astype({"w_web": "Float64", "loss": "float64[pyarrow]"}).set_index([[7, 7]])
    found = law.predict(pandas)
    assert found.dtypes.to_list()[:4] == pandas.dtypes.to_list() and found.index.to_list() == [0, 1]
    assert found["predicted"].to_list() == law.predict(runs.head(2))["predicted"].to_list()


def test_too_few_mixes_for_an_interval_are_a_warning(runs: pl.DataFrame) -> None:
    law = wt.law(runs.head(18), "w_*", form="linear")
    for call in (lambda: law.predict(runs.head(1)).to_dicts()[0], law.propose):
        with pytest.warns(UserWarning, match="95% needs the runs of 19 different mixes, and there are 18") as told:
            assert call()["low"] is None
        assert told[0].filename == __file__
    assert wt.law(runs.head(19), "w_*", form="linear").predict(runs.head(1))["low"][0] is not None


@pytest.mark.parametrize(
    ("returned", "kind", "message"),
    [
        ("lambda mixes: 2.0", wt.RecipeError, r"Own' predicts an array of shape \(\) for 26 mixes"),
        ("lambda mixes: mixes", wt.RecipeError, r"Own' predicts an array of shape \(26, 3\)"),
        ("lambda mixes: 'x'", wt.RecipeError, "Own' predicts a str, not numbers"),
        ("lambda mixes: mixes[:, 0] * np.nan", wt.InputError, "Own' predicts values that are not finite, for 26 of 26"),
        ("lambda mixes: 1 / (mixes[:, 0] > 0)", wt.InputError, "Own' predicts values that are not finite, for 1 of 1"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_form_that_gives_no_number_a_mix_is_named(
    runs: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    returned: str,
    kind: Any,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "import numpy as np\nfrom windtunnel.trainer.laws._form import LawForm\n\n\n"
    words += f"class Own(LawForm):\n    def fit(self, weights, target, near=None):\n        return {returned}\n"
    (tmp_path / "own.py").write_text(words, encoding="utf-8")
    mix = pl.DataFrame({name: [float(name != "w_web")] for name in NAMES})
    with pytest.raises(kind, match=message):
        wt.law(runs, "w_*", form="./own.py:Own").predict(mix)


def test_wrong_arguments_of_law(runs: pl.DataFrame) -> None:
    law = wt.law(runs, "w_*", form="linear")
    for call, kind, message in (
        (lambda: wt.law(runs, "v_*"), wt.RecipeError, "no column is called 'v_\\*'"),
        (lambda: wt.law(runs, ["w_web", "w_cod"]), wt.RecipeError, "did you mean 'w_code'"),
        (lambda: wt.law(runs, "w_*", "los"), wt.RecipeError, "did you mean 'loss'"),
        (lambda: wt.law(runs, [3, 4]), wt.RecipeError, "columns of the weights are strings, and 3 is none"),  # type: ignore[list-item]
        (lambda: wt.law(runs, 3), wt.RecipeError, "law: weights is 3: give a string or a list"),  # type: ignore[arg-type]
        (lambda: wt.law(runs, "w_*", 3), wt.RecipeError, "law: target is 3: give a string"),  # type: ignore[arg-type]
        (lambda: law.propose(dict.fromkeys(NAMES, "1"), 1e9), wt.RecipeError, "needed, not '1'"),  # type: ignore[arg-type]
        (lambda: wt.law(runs, "w_*", form="cubic"), wt.RecipeError, "no law is called 'cubic'"),
        (lambda: wt.law(runs.head(3), "w_*"), wt.InputError, "at least 5 different mixes, there are 3"),
        (lambda: law.predict(runs.drop("w_web")), wt.RecipeError, "no column is called 'w_web'"),
        (lambda: law.propose(budget=1e9), wt.RecipeError, "needs both `tokens` and `budget`"),
        (lambda: law.propose({"w_web": 1.0}, 1e9), wt.RecipeError, "the number of tokens of w_code"),
        (lambda: law.propose(dict.fromkeys(NAMES, 0.0), 1e9), wt.RecipeError, "a number above zero is needed, not 0"),
    ):
        with pytest.raises(kind, match=message):
            call()
