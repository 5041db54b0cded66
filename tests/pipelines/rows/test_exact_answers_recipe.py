"""A recipe on families of tasks, from documents to what the models answer right, by family."""

from __future__ import annotations

import json
import random
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from windtunnel.pipelines.cli import app
from windtunnel.pipelines.plan.builder import planned
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.results import Comparison

RECIPE = """
question: Do sums help?
store: runs/flan
corpora: {texts: {source: {jsonl: texts.jsonl}}}
generate:
  sums: {with: {flan: {families: [arithmetic], tasks: [addition], rows: 90}}, from: {documents: texts}}
  words: {with: {flan: {families: [sorting], tasks: [first_word], rows: 90, templates: 2}}, from: {documents: texts}}
  others: {with: {flan: {families: [sorting, counting], rows: 90, templates: [2, 3]}}, from: {documents: texts}}
held_out: {from: [sums, others], share: 0.3}
mixes: {sums: {sums: 1}, both: {sums: 0.5, words: 0.5}}
row_mixes: {tolerance: 0.2}
tokens: {tokenizer: {bpe: 300, trained_on: texts}}
train:
  model: {llama: {width: 16, layers: 1, heads: 2, context: 256}}
  seeds: [0, 1]
  stages: [{sft: {budget: 300, batch_tokens: 100}}]
evaluate: {answers: {questions: 30, max_tokens: 40}}
compare: {baseline: sums, margin: 0.01}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng, letters = random.Random(0), "abcdefghijklmnop"
    words = ["".join(rng.sample(letters, 6)) for _ in range(200)]
    texts = [{"text": f"The {' '.join(rng.sample(words, 30))}."} for _ in range(100)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    (tmp_path / "flan.yaml").write_text(RECIPE)
    return tmp_path


def test_answers_are_compared_by_family(recipe):
    found = CliRunner().invoke(app, ["run", "flan.yaml", "--workers", "1"])
    assert found.exit_code == 0, found.output
    store = recipe / "runs" / "flan"
    (compare,) = store.glob("compare.answers-*")
    comparison = Comparison.read(compare)
    assert {domain.name: domain.documents for domain in comparison.on.domains} == {
        "arithmetic": 10,
        "counting": 10,
        "sorting": 10,
    }
    assert comparison.metric == "correct" and comparison.direction == "higher"
    assert [effect.mix for effect in comparison.effects] == ["both"]
    runs = sorted(store.glob("exact_answers.*"))
    assert len(runs) == 4
    items = pl.read_parquet(runs[0] / "items.parquet")
    assert set(items["source"]) == {"arithmetic", "counting", "sorting"} and (items["nats"] > 0).all()
    chance = dict(items.group_by("source").agg(pl.col("chance").mean()).iter_rows())
    assert comparison.chance == pytest.approx(chance)
    assert "exact answers on held-out rows (30 questions, share right)" in found.output
    assert "right by the most frequent answer alone: arithmetic 0." in found.output
    (report,) = store.glob("report-*/report.html")
    text = report.read_text()
    assert "Exact answers on held-out rows" in text
    assert "Chance is the share that the most frequent answer" in text and "bits/byte" in text
    again = CliRunner().invoke(app, ["run", "flan.yaml", "--workers", "1"])
    assert "0 steps executed" in again.output


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("questions: 30", "questons: 30", "questions"),
        ("compare: {baseline: sums, margin: 0.01}", "", "`evaluate:` needs `compare:`"),
        ("families: [arithmetic]", "families: [arithmetics]", "did you mean 'arithmetic'"),
    ],
)
def test_wrong_settings_are_told_where_they_stand(recipe, old, new, said):
    (recipe / "flan.yaml").write_text(RECIPE.replace(old, new))
    with pytest.raises(RecipeError, match=said):
        planned("flan.yaml", [])


def test_mixes_of_documents_have_no_rows_to_ask(recipe):
    text = RECIPE.replace("{from: [sums, others], share: 0.3}", "{from: texts, share: 0.3}")
    text = text.replace("mixes: {sums: {sums: 1}, both: {sums: 0.5, words: 0.5}}", "mixes: {sums: {texts: 1}}")
    text = text.replace("trained_on: texts}", "trained_on: texts}, budget: 1000")
    text = text.replace("{sft: {budget: 300, batch_tokens: 100}}", "{causal_lm: {batch_tokens: 100}}")
    (recipe / "flan.yaml").write_text(text)
    with pytest.raises(RecipeError, match="these mixes are of documents"):
        planned("flan.yaml", [])
