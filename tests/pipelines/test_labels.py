"""A recipe that pretrains on text and adapts on labelled rows: its plan, what is refused, one scale for all ways."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests import command_line
from tests.conftest import invented_text
from windtunnel.pipelines.plan.builder import planned
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.results import Comparison

RECIPE = """\
question: Which way to a label?
store: runs
corpora:
  text: {source: {jsonl: text.jsonl}}
rows:
  kinds: {source: {jsonl: kinds.jsonl}}
held_out: {from: kinds, share: 0.3}
mixes:
  all: {text: 1.0, kinds: 1.0}
tokens: {tokenizer: {bpe: 400, trained_on: text}, budget: 1_024, max_epochs: 40}
train:
  seeds: [0, 1]
  model: {llama: {width: 16, layers: 1, heads: 2, context: 256}}
  stages: [{causal_lm: {lr: 1e-2, batch_tokens: 256}}, {sft: {lr: 1e-2, batch_tokens: 64, epochs: 2}}]
  variants:
    told:
    base: {stages: [{causal_lm: {lr: 1e-2, batch_tokens: 256}}]}
    head: {stages: [{causal_lm: {lr: 1e-2, batch_tokens: 256}}, {classifier: {lr: 1e-2, epochs: 4}}]}
evaluate: {labels: {shots: [0, 2]}}
compare: {baseline: told, margin: 0.5}
"""


def write(folder: Path) -> None:
    texts = [{"text": invented_text(k, 40)} for k in range(40)]
    words = ("alpha beta", "gamma delta", "alpha delta", "gamma beta")
    rows = [
        {"prompt": f"{words[k % 4]} {invented_text(k, 6)}", "completion": ("greek", "other")[(k % 4) % 2]}
        for k in range(80)
    ]
    for name, lines in (("text", texts), ("kinds", rows)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "recipe.yaml").write_text(RECIPE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_mix_of_text_and_rows_gives_each_stage_its_own(place: Path) -> None:
    plan = planned("recipe.yaml", [])
    run = plan.find("train:told:0")
    assert run is not None
    assert {"mix", "tokens:text", "conversations", "held_out_conversations", "tokenizer"} <= set(run.inputs)
    assert run.inputs["mix"].name == "text_mix:all" and run.inputs["conversations"].name == "mix:all"
    assert run.inputs["mix"].work.weights == {"text": 1.0}  # type: ignore[attr-defined]
    assert "mix" in run.inputs["earlier"].inputs and "conversations" not in run.inputs["earlier"].inputs
    names = [step.name.names[0] for step in plan.of_kind("labels") if step.name.names[1] == "0"]
    assert names == ["told", "base", "base.2_shots", "head", "majority"]
    assert [step.name for step in plan.of_kind("compare")] == [
        "compare",
        "compare:labels",
        "compare:labels:probability",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{text: 1.0, kinds: 1.0}", "{kinds: 1.0}", "stage learns from text, and the mix 'all' holds none"),
        ("{text: 1.0, kinds: 1.0}", "{text: tokens, kinds: 1.0, }", ""),
        ("{text: 1.0, kinds: 1.0}", "{text: 1.0, kinds: tokens}", "rows, whose weights are numbers"),
        (", budget: 1_024, max_epochs: 40", "", "needs `budget:`"),
        ("{causal_lm: {lr: 1e-2, batch_tokens: 256}}, ", "", "documents beside rows, and no stage learns from them"),
        ("baseline: told", "baseline: base", ""),
        ("    base: {", "    majority: {", "the reference's name"),
        ("shots: [0, 2]", "shots: [2, 0]", "growing numbers"),
        ("{shots: [0, 2]}", "{prompt: what}", "has {question} in it"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(old: str, new: str, said: str, place: Path) -> None:
    changed = RECIPE.replace(old, new)
    if "documents beside rows" in said:
        changed = changed.replace("    base: {stages: [{causal_lm: {lr: 1e-2, batch_tokens: 256}}]}\n", "")
    (place / "recipe.yaml").write_text(changed)
    if not said:
        planned("recipe.yaml", [])
        return
    with pytest.raises(RecipeError, match=r"line \d+") as found:
        planned("recipe.yaml", [])
    assert said in str(found.value)


@pytest.mark.slow
def test_all_ways_are_compared_on_the_same_rows(tmp_path: Path) -> None:
    write(tmp_path)
    found = command_line.windtunnel("run", "recipe.yaml", "--workers", "1", folder=tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr

    def artifact(step: str) -> Path:
        (one,) = (tmp_path / "runs").glob(f"{step}-*")
        return one

    comparison = Comparison.read(artifact("compare.labels"))
    assert set(comparison.values) == {"told", "base", "base.2_shots", "head", "majority"}
    tables = {name: pl.read_parquet(artifact(f"labels.{name}.0") / "items.parquet") for name in comparison.values}
    first = tables["told"].select("document", "answer", "chance").sort("document")
    for name, table in tables.items():
        assert table.select("document", "answer", "chance").sort("document").equals(first), name
        mean = pl.concat([pl.read_parquet(artifact(f"labels.{name}.{s}") / "items.parquet") for s in (0, 1)])
        assert comparison.values[name] == pytest.approx(mean["correct"].mean())
    figures = json.loads((artifact("labels.majority.0") / "labels.json").read_text())["labels/kinds"]
    assert figures["accuracy"] == figures["majority"] and figures["chance"] == 0.5
    main = Comparison.read(artifact("compare"))
    assert "does not score what is held out" in main.incomparable["base"] and "head" in main.incomparable
    again = command_line.windtunnel("run", "recipe.yaml", "--workers", "1", folder=tmp_path)
    assert "running" not in again.stdout
