"""Whole recipes on two small sources: the same data in other guises, pinned sources, looks, and what a run says."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from tests.conftest import invented_text
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.run_recipe import run_recipe
from windtunnel.pipelines.run_until_decided import first_seeds, run_until_decided
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.results import Comparison

RECIPE = """
question: Is it the mixture?
store: {folder}/store
corpora:
  raw: {{source: {{jsonl: '{folder}/texts/*.jsonl'}}}}
  tales: {{source: {{jsonl: '{folder}/texts/tales.jsonl'}}}}
  notes: {{source: {{jsonl: '{folder}/texts/notes-0*.jsonl'}}}}
  longer: {{from: raw, rules: [{{length: {{min_words: 70}}}}]}}
held_out: {{from: raw, share: 0.1, documents: 12}}
mixes:
  raw: {{raw: 1}}
  parts: {{notes: tokens, tales: tokens}}
  longer: {{longer: 1}}
tokens: {{tokenizer: {{bpe: 300, trained_on: raw}}, budget: 4096, max_epochs: 20}}
train:
  model: {{llama: {{width: 16, layers: 1, heads: 2, context: 32}}}}
  seeds: [0, 1]
  device: cpu
  stages: [{{causal_lm: {{batch_tokens: 512}}}}]
compare: {{baseline: raw, margin: 0.5, pin: source}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a recipe and its texts: tales, and notes in two shards that are shorter on the whole."""
    path = tmp_path_factory.mktemp("sameness")
    (path / "texts").mkdir()
    for name, seeds, most in (
        ("tales", range(60), 400),
        ("notes-00", range(100, 140), 150),
        ("notes-01", range(200, 230), 150),
    ):
        rows = [{"text": invented_text(seed, 20 + (seed * 37) % most)} for seed in seeds]
        (path / "texts" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "recipe.yaml").write_text(RECIPE.format(folder=path))
    return path


def run(folder: Path, *sets: str) -> tuple[Comparison, str]:
    """The comparison, and what was printed."""
    said = Console(file=io.StringIO(), width=200)
    plan = run_recipe(str(folder / "recipe.yaml"), list(sets), None, "inline", 1, True, said)
    step = plan.find("compare")
    return Comparison.read(step.artifact(Path(plan.recipe.store)).path), said.file.getvalue()


def test_the_same_data_declared_by_source_scores_the_same_and_pinned_parts_add_up(folder):
    comparison, said = run(folder)
    effects = {effect.mix: effect for effect in comparison.effects}
    assert set(effects) == {"parts", "longer"}  # the pinned runs are no mixes of the table
    assert effects["parts"].equal
    assert effects["parts"].verdict == "equivalent"
    parts = comparison.parts["longer"]
    assert parts.mixture.effect + parts.documents.effect == pytest.approx(effects["longer"].effect)
    assert parts.mixture.effect != 0 != parts.documents.effect
    assert comparison.parts["parts"].documents.equal and comparison.parts["parts"].mixture.equal
    assert "mixture of sources" in said and "its documents within the sources" in said
    plan = planned(str(folder / "recipe.yaml"), [])
    shares = {}
    for name in ("raw@longer", "longer"):
        (run_,) = [s for s in plan.steps if s.name == f"train:{name}:0"]
        drawn = pl.read_parquet(run_.artifact(folder / "store").path / "realised.parquet")
        shares[name] = dict(drawn.group_by("source").agg(pl.col("tokens").sum()).sort("source").iter_rows())
    for source, tokens in shares["longer"].items():
        assert abs(shares["raw@longer"].get(source, 0) - tokens) <= 32  # to one window
    report = plan.find("report").artifact(folder / "store").path / "report.html"
    assert "Mixture and documents" in report.read_text()


def test_a_source_that_the_baseline_lacks_cannot_be_pinned(folder):
    sets = ["mixes={raw: {tales: 1}, parts: {notes: 1}}", "tokens.tokenizer.trained_on=tales"]
    with pytest.raises(RecipeError, match=r"none of 'notes'.*leave `pin` out"):
        run(folder, *sets)


def test_weights_by_size_stand_alone(folder):
    with pytest.raises(RecipeError, match="beside numbers"):
        planned(str(folder / "recipe.yaml"), ["mixes.parts={notes: tokens, tales: 2}"])


def test_seeds_added_after_a_look_are_told_unless_declared(folder):
    _, first = run(folder, "compare.pin=null")
    _, again = run(folder, "compare.pin=null", "train.seeds=[0, 1, 2]")
    _, declared = run(folder, "compare.pin=null", "train.seeds=[0, 1, 2]", "compare.after=[2]")
    _, planned_late = run(folder, "compare.pin=null", "train.seeds=[0, 1, 2]", "compare.looks=[2, 3]")
    warning = "these runs were compared at 2 seeds before"
    assert warning not in first and warning in again and warning not in declared
    assert warning in planned_late and "Judge by no `looks:`" in planned_late


def test_runs_end_at_the_look_that_decides(folder):
    said = Console(file=io.StringIO(), width=200)
    recipe, sets = (
        str(folder / "recipe.yaml"),
        ["compare.pin=null", "mixes={raw: {raw: 1}, parts: {notes: tokens, tales: tokens}}"],
    )

    def once(more: list[str]):
        return run_recipe(recipe, more, None, "inline", 1, True, said)

    plan = run_until_decided(recipe, [*sets, "compare.looks=[2, 3]"], once, said)
    assert plan.recipe.train.seeds == [0, 1]  # equivalent at the first look
    plan = run_until_decided(recipe, [*sets, "compare.looks=[2, 3]", "compare.margin=0"], once, said)
    assert plan.recipe.train.seeds == [0, 1, 2]
    assert "look 1 of 2, 2 seeds: undecided: parts; the next look is at 3 seeds" in said.file.getvalue()
    assert "that was the last look" in said.file.getvalue()
    assert first_seeds([5, 1], 4) == [5, 1, 0, 2]


def test_a_batch_of_few_documents_is_told_once(folder):
    _, said = run(folder, "compare.pin=null", "train.stages=[{causal_lm: {batch_tokens: 64, piece: 4}}]")
    assert said.count("documents on average, fewer than 16") == 1
