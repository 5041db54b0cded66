"""Training on frames gives the weights of a recipe's run, and scoring its scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import windtunnel as wt
from tests.conftest import invented_text
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import run
from windtunnel.pipelines.plan.builder import planned

MODEL: Any = {"llama": {"width": 32, "layers": 1, "heads": 2, "context": 32}}
SMALL: dict[str, Any] = {"model": MODEL, "token_budget": 2048, "batch_tokens": 256, "tokenizer": 300, "device": "cpu"}

RECIPE = """
question: Is text of one kind better?
store: {folder}/store
corpora:
  all: {{source: {{jsonl: {folder}/all.jsonl}}}}
  half: {{source: {{jsonl: {folder}/half.jsonl}}}}
held_out: {{from: all, share: 0.2}}
mixes: {{both: {{all: 1.0, half: 3.0}}, half: {{half: 1.0}}}}
tokens: {{tokenizer: {{bpe: 300, trained_on: all}}, budget: 2048, max_epochs: 20}}
train:
  model: {{llama: {{width: 32, layers: 1, heads: 2, context: 32}}}}
  seeds: [0, 3]
  device: cpu
  stages: [{{causal_lm: {{lr: 5e-3, batch_tokens: 256}}}}]
compare: {{baseline: half}}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> wt.Store:
    """The store of a small recipe that has been run."""
    folder = tmp_path_factory.mktemp("recipe")
    rows = [json.dumps({"text": invented_text(i, 30 + i * 7 % 60)}) + "\n" for i in range(60)]
    (folder / "all.jsonl").write_text("".join(rows), encoding="utf-8")
    (folder / "half.jsonl").write_text("".join(rows[::2]), encoding="utf-8")
    (folder / "r.yaml").write_text(RECIPE.format(folder=folder), encoding="utf-8")
    plan = planned(str(folder / "r.yaml"), [])
    run([step for step in plan.steps if step.kind in ("train", "compare")], folder / "store", Where("inline"))
    return wt.Store.open(folder / "store")


def weights(model: wt.TrainedModel) -> bytes:
    return (model.path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["half", "both"])
def test_weights_and_scores_are_those_of_a_recipes_run(store: wt.Store, name: str) -> None:
    texts = {part: store[f"train_split:{part}"].to_polars() for part in ("all", "half")}
    ours = wt.train(
        texts if name == "both" else texts["half"],
        weights={"all": 1, "half": 3} if name == "both" else None,
        name=name,
        seed=3,
        **{**SMALL, "tokenizer": {"bpe": 300, "trained_on": texts["all"]}},
        lr=5e-3,
        max_epochs=20,
    )
    theirs = store[f"train:{name}:3"]
    assert weights(ours) == (theirs.path / "model" / "model.safetensors").read_bytes()
    assert_frame_equal(ours.log, theirs.to_polars("log"))
    scores = wt.evaluate(ours, store["held_out"].to_polars(), device="cpu")
    assert scores["mix"].unique().to_list() == [name] and scores["seed"].unique().to_list() == [3]
    assert_frame_equal(
        scores.select("document", "source", "bytes", "nats"), theirs.to_polars("scores"), check_exact=True
    )
    assert_frame_equal(wt.evaluate(ours.path, store["held_out"].to_polars()), scores.drop("mix", "seed"))


def test_comparing_scores_gives_the_recipes_effect(store: wt.Store) -> None:
    tables = []
    for mix in ("half", "both"):
        for seed in (0, 3):
            scores = store[f"train:{mix}:{seed}"].to_polars("scores")
            tables.append(scores.select(pl.lit(mix).alias("mix"), pl.lit(seed).alias("seed"), pl.all()))
    (effect,) = wt.compare(pl.concat(tables), "half", margin=0.005)
    written = store["compare"].to_polars("effects")
    assert effect.effect == written["effect"][0] and effect.low == written["low"][0]


def test_one_seed_gives_the_same_weights_and_another_does_not(texts: pl.DataFrame, tmp_path: Path) -> None:
    long = texts.filter(pl.col("text").str.len_bytes() > 100)
    first = wt.train(long, **SMALL)
    again = wt.train(long.lazy(), **SMALL, store=tmp_path / "store")  # a store of its own: trained anew
    other = wt.train(long.to_arrow(), **SMALL, seed=1)
    assert weights(first) == weights(again) != weights(other)
    assert again.path.is_relative_to(tmp_path) and (first.name, first.seed) == ("mix", 0)
    assert first.cost["tokens"] == 2048 and first.cost["flops"] > 0 and first.log["step"].to_list() == list(range(8))


def test_what_a_store_holds_is_not_made_again(texts: pl.DataFrame, tmp_path: Path) -> None:
    long = texts.filter(pl.col("text").str.len_bytes() > 100)
    first = wt.train(long, **SMALL, store=tmp_path)
    before = (first.path / "model.safetensors").stat().st_mtime_ns
    assert wt.train(long["text"].to_list(), **SMALL, store=tmp_path).path != first.path  # other ids: another order
    assert wt.train(long, **SMALL, store=tmp_path).path == first.path
    assert (first.path / "model.safetensors").stat().st_mtime_ns == before
    wt.train(long, **SMALL, seed=5, store=tmp_path)
    steps = [name.partition("-")[0] for name in wt.Store.open(tmp_path)]
    assert (steps.count("corpus:frame"), steps.count("tokenizer"), steps.count("train:mix:5")) == (2, 2, 1)


def test_a_model_can_be_saved_loaded_and_lend_its_tokenizer(texts: pl.DataFrame, tmp_path: Path) -> None:
    long = texts.filter(pl.col("text").str.len_bytes() > 100)
    model = wt.train(long, **SMALL)
    saved = model.save(tmp_path / "saved")
    assert type(model.load()).__name__ == "LlamaForCausalLM"
    found = wt.evaluate(saved, ["the river"])
    assert found.columns == ["document", "source", "bytes", "tokens", "nats", "bits_per_byte"]
    assert found["nats"].to_list() == wt.evaluate(model, pl.DataFrame({"t": ["the river"]}), text="t")["nats"].to_list()
    other = wt.train(long, **{**SMALL, "tokenizer": model}, seed=1)
    assert (other.path / "tokenizer.json").read_bytes() == (saved / "tokenizer.json").read_bytes()
    with pytest.raises(wt.InputError, match="saved exists: name a new directory"):
        model.save(tmp_path / "saved")


def test_texts_of_one_origin_stay_together_in_scores(texts: pl.DataFrame) -> None:
    model = wt.train(texts.filter(pl.col("text").str.len_bytes() > 100), **SMALL)
    held_out = texts.head(4).with_columns(group=pl.Series(["p", "p", "q", "q"]))
    assert wt.evaluate(model, held_out)["group"].to_list() == ["p", "p", "q", "q"]


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"token_budget": 0}, wt.RecipeError, "token_budget: Input should be greater than 0"),
    ({"token_budget": 10**7}, wt.RecipeError, "more repeats than max_epochs allows"),
    ({"token_budget": 10**7}, wt.RecipeError, "`token_budget` in Python"),
    ({"token_budget": "many"}, wt.RecipeError, "train: token_budget is 'many': give a whole number"),
    ({"stages": 3}, wt.RecipeError, "train: stages is 3: give a list"),
    ({"weights": 3}, wt.RecipeError, "train: weights is 3: give a mapping"),
    ({"weights": {"mix": "x"}}, wt.RecipeError, "the weight of 'mix' is 'x': give a number"),
    ({"token_budget": 100}, wt.RecipeError, "less than one step of 256"),
    ({"model": "lama"}, wt.RecipeError, "did you mean 'llama'"),
    ({"model": {"llama": {"widht": 3}}}, wt.RecipeError, "did you mean 'width'"),
    ({"lr": -1}, wt.RecipeError, "parameter 'lr'"),
    ({"lr": 1e9, "schedule": "constant"}, wt.WindtunnelError, "learning rate 1e[+]09. Lower `lr`"),
    ({"stages": ["sft"]}, wt.RecipeError, "learns from conversations"),
    ({"name": "../x"}, wt.RecipeError, "'../x' is no name"),
    ({"weights": {"a": 1.0}}, wt.RecipeError, "no texts are called 'a': available: mix"),
    ({"tokenizer": {"size": 3}}, wt.RecipeError, "not the parameters size"),
    ({"tokenizer": 2.5}, wt.RecipeError, "not 2.5"),
    ({"tokenizer": "nowhere"}, wt.RecipeError, "nowhere: no tokenizer.json"),
    ({"store": "/proc/none"}, wt.InputError, "nothing can be written to the store"),
    ({"text": "txt"}, wt.InputError, "no column 'txt'"),
]


@pytest.mark.parametrize(("changed", "kind", "message"), BAD, ids=[message for _, _, message in BAD])
def test_a_wrong_argument_of_train_is_an_error_of_our_own(
    texts: pl.DataFrame, changed: dict[str, Any], kind: Any, message: str
) -> None:
    with pytest.raises(kind, match=message):
        wt.train(texts.filter(pl.col("text").str.len_bytes() > 100), **{**SMALL, **changed})


def test_texts_that_cannot_be_trained_on_or_scored(texts: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(wt.InputError, match=r"1 of 60 rows have no text \(null in 'text'\): leave them out"):
        wt.train(texts, **SMALL)
    with pytest.raises(wt.InputError, match="there are no texts"):
        wt.train({}, **SMALL)
    with pytest.raises(wt.RecipeError, match="say on which the tokenizer is trained"):
        wt.train({"a": ["x"], "b": ["y"]}, **SMALL)
    with pytest.raises(wt.RecipeError, match="'b' has no weight; 0 leaves it out"):
        wt.train({"a": ["x"], "b": ["y"]}, **SMALL, weights={"a": 1.0})
    with pytest.raises(wt.InputError, match="a list of texts holds something else than text"):
        wt.train(["a", 1], **SMALL)  # type: ignore[list-item]
    with pytest.raises(wt.InputError, match="not all UTF-8 text"):
        wt.train(pl.DataFrame({"text": [b"\xff"]}), **SMALL)
    with pytest.raises(wt.InputError, match="no model directory at"):
        wt.evaluate(tmp_path / "none", ["x"])
    model = wt.train(texts.filter(pl.col("text").str.len_bytes() > 100), **SMALL)
    with pytest.raises(wt.InputError, match="1 of 2 texts are empty"):
        wt.evaluate(model, ["x", ""])
