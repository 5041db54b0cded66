"""Mixes: shares, epochs, and an error that says what would do."""

from __future__ import annotations

import json
import re

import polars as pl
import pytest
from pydantic import ValidationError

from windtunnel.pipelines.datasets.mix import Mix
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError, RecipeError


def tokens(world, *names):
    return {f"tokens:{name}": world.artifact(f"tokens_{name}") for name in names}


def available(world, name):
    return sum(pl.read_parquet(f)["tokens"].sum() for f in world.artifact(f"tokens_{name}").files("documents"))


def test_shares_and_epochs(tmp_path, world):
    counts = Mix(weights={"wide": 2, "narrow": 6}, token_budget=10_000, max_epochs=10).run(
        tokens(world, "wide", "narrow"), tmp_path, 0
    )
    assert (counts.kept, counts.tokens) == (160, 10_000)
    mix = json.loads((tmp_path / "mix.json").read_text())
    wide, narrow = mix["domains"]
    assert (wide["weight"], narrow["weight"]) == (0.25, 0.75)
    assert (wide["tokens"], narrow["tokens"]) == (2500, 7500)
    assert narrow["epochs"] == pytest.approx(7500 / available(world, "narrow"))
    assert narrow["available_documents"] == 40
    realised = pl.read_parquet(tmp_path / "realised.parquet")
    assert set(realised["source"]) == {"tales", "notes"}
    assert realised["tokens"].sum() == pytest.approx(10_000, abs=4)


def test_a_repeated_corpus_gives_no_document_twice(tmp_path, world):
    there = available(world, "narrow")
    Mix(weights={"narrow": 1}, token_budget=2 * there, max_epochs=2).run(tokens(world, "narrow"), tmp_path, 0)
    realised = pl.read_parquet(tmp_path / "realised.parquet")
    bytes_there = sum(pl.read_parquet(f)["bytes"].sum() for f in world.artifact("tokens_narrow").files("documents"))
    assert json.loads((tmp_path / "mix.json").read_text())["domains"][0]["documents"] == 40
    assert (realised["tokens"].sum(), realised["bytes"].sum()) == (2 * there, 2 * bytes_there)
    assert realised["documents"].sum() == 40


def test_a_corpus_without_tokens_is_named(tmp_path):
    empty = {"source": [], "tokens": [], "bytes": []}
    (tmp_path / "documents").mkdir()
    pl.DataFrame(empty, schema={"source": pl.String, "tokens": pl.Int64, "bytes": pl.Int64}).write_parquet(
        tmp_path / "documents" / "00000.parquet"
    )
    with pytest.raises(InputError, match="corpus 'web' has no tokens"):
        Mix(weights={"web": 1}, token_budget=10).run({"tokens:web": Artifact(tmp_path)}, tmp_path / "out", 0)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_are_above_zero(weight):
    with pytest.raises(ValidationError, match="above zero"):
        Mix(weights={"raw": 1.0, "web": weight}, token_budget=10)


def test_too_many_epochs_says_what_there_is_and_what_would_do(tmp_path, world):
    there = available(world, "narrow")
    work = Mix(weights={"wide": 1, "narrow": 3}, token_budget=there * 8 + 1, max_epochs=4)
    with pytest.raises(RecipeError) as caught:
        work.run(tokens(world, "wide", "narrow"), tmp_path, 0)
    text = str(caught.value)
    assert f"narrow: {there:,} tokens there are, {there * 6 + 1:,} asked for (6.00 epochs, the cap is 4)" in text
    assert "wide:" not in text
    cap, budget = re.search(
        r"`max_epochs` of ([\d.]+) or a budget of (\d+) tokens .*`token_budget` in Python", text
    ).groups()
    for mend in ({"max_epochs": float(cap)}, {"token_budget": int(budget)}):
        work.model_copy(update=mend).run(tokens(world, "wide", "narrow"), tmp_path, 0)
    with pytest.raises(RecipeError):
        work.model_copy(update={"token_budget": int(budget) + 10}).run(tokens(world, "wide", "narrow"), tmp_path, 0)
