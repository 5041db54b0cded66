"""Training that goes on from a model: on documents, with the model's own tokenizer, by whole recipes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests import command_line
from tests.conftest import invented_text, write_chat_model
from windtunnel.pipelines.plan.builder import planned
from windtunnel.schemas import plugin_files
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.model_delta import delta_of
from windtunnel.trainer.eval.replies import open_asker

RECIPE = """\
question: Do notes help a model that knows other text?
store: runs
corpora:
  all: {source: {jsonl: all.jsonl}}
  notes: {source: {jsonl: notes.jsonl}}
models:
  base: {path: base}
held_out: {from: all, share: 0.2}
mixes:
  all: {all: 1}
  notes: {all: 1, notes: 1}
tokens: {budget: 8_192, max_epochs: 40}
train:
  start: base
  context: 64
  seeds: [0, 1]
  stages: [{causal_lm: {lr: 1e-3, batch_tokens: 512}}]
compare: {baseline: all}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, first in (("all", 0), ("notes", 100)):
        lines = [json.dumps({"text": invented_text(first + k, 40 + 9 * k)}) for k in range(40)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    write_chat_model(tmp_path / "base")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_model_goes_on_with_its_own_tokenizer(place: Path) -> None:
    done = command_line.windtunnel("run", "recipe.yaml", folder=place)
    assert done.returncode == 0, done.stdout + done.stderr
    plan = planned("recipe.yaml", [])
    tokens = plan.find("tokenizer").artifact(place / "runs").path / "tokenizer" / "tokenizer.json"
    assert tokens.read_bytes() == (place / "base" / "tokenizer.json").read_bytes()
    folder = plan.find("train:notes:0").artifact(place / "runs").path
    assert (folder / "model" / "tokenizer.json").exists()
    log = pl.read_parquet(folder / "log.parquet")
    assert log["loss"][-1] < log["loss"][0]  # it starts from random weights with a wide spread
    assert json.loads((folder / "result.json").read_text())["held_out"]["bytes"] > 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tokens: {", "tokens: {tokenizer: {bpe: 300, trained_on: all}, ", "line 12: .*leave `tokenizer:` out"),
        ("tokens: {", "tokens: {tokenizer: {path: other}, ", "line 12: .*leave `tokenizer:` out"),
        ("  start: base\n", "  model: {llama: {width: 16, layers: 1, heads: 2}}\n", "line 12: name a tokenizer"),
        ("context: 64", "context: 512", "line 15: the model 'base' has 256 positions, and `context` is 512"),
    ],
)
def test_a_tokenizer_or_a_context_that_the_model_has_not_is_refused(old, new, said, place: Path) -> None:
    (place / "other").mkdir()
    for file in (place / "base").glob("*token*"):
        (place / "other" / file.name).write_text(file.read_text() + " ")
    text = RECIPE.replace(old, new)
    if "model:" in new:
        text = text.replace("  context: 64\n", "")
    (place / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match=said):
        planned("recipe.yaml", [])


def test_the_models_own_tokenizer_may_be_named(place: Path) -> None:
    (place / "recipe.yaml").write_text(RECIPE.replace("tokens: {", "tokens: {tokenizer: {path: base}, "))
    assert "tokenizer" in planned("recipe.yaml", []).find("tokens:all").inputs


MINE = '''\
from windtunnel.trainer.deltas.adapter import Adapter


class Mine(Adapter):
    """An adapter in a file of one's own."""
'''


def test_an_own_delta_that_is_not_merged_is_asked_in_later_steps(place: Path) -> None:
    (place / "mine.py").write_text(MINE)
    text = RECIPE.replace("1e-3, batch_tokens: 512}", "3e-2, batch_tokens: 512, delta: ./mine.py:Mine}")
    text = text.replace("seeds: [0, 1]", "seeds: [0]").replace("  notes: {all: 1, notes: 1}\n", "")
    text = text.replace("compare:", "evaluate: {tasks: {from: all, tasks: [{sorting: {items: 4}}]}}\ncompare:")
    (place / "recipe.yaml").write_text(text)
    done = command_line.windtunnel("run", "recipe.yaml", folder=place)
    assert done.returncode == 0, done.stdout + done.stderr
    plan = planned("recipe.yaml", [])
    model = plan.find("train:all:0").artifact(place / "runs").path / "model"
    assert delta_of(model) == "./mine.py:Mine"
    (items,) = (place / "runs").glob("tasks*/items.parquet")
    item = pl.read_parquet(items).row(0, named=True)
    with plugin_files.relative_to(place):
        found = open_asker(model, 512).answer_nats([item["prompt"]], [item["answer"]])[0]
    assert item["nats"] == pytest.approx(found, rel=1e-4)
    shutil.rmtree(model / "delta")
    with pytest.raises(InputError, match=r"delta\.json is missing"):  # nor is the base taken for the model
        open_asker(model, 512)
