"""Several trainings of every mix in one recipe: names, what is refused, what is compared, probes, the table."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests import command_line
from tests.conftest import invented_text
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.recipe.file import parse
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.results import Comparison
from windtunnel.schemas.side_by_side import Table

RECIPE = """\
question: What do objectives make of one text?
store: runs
corpora:
  all: {source: {jsonl: {path: '*.jsonl', source: kind}}}
held_out: {from: all, share: 0.2}
mixes:
  all: {all: 1}
tokens: {tokenizer: {bpe: 400, trained_on: all}, budget: 4_096, max_epochs: 40}
train:
  seeds: [0, 1]
  model: {llama: {width: 16, layers: 1, heads: 2, context: 32}}
  stages: [{causal_lm: {lr: 1e-2, batch_tokens: 256}}]
  variants:
    gpt:
    muon: {stages: [{causal_lm: {lr: 1e-2, batch_tokens: 256, optimizer: muon}}]}
    bert:
      model: {bert: {width: 16, layers: 1, heads: 2, context: 32}}
      stages: [{masked_lm: {lr: 1e-2, batch_tokens: 256}}]
    fasttext: {model: {static: {width: 8, context: 32, buckets: 100, fewest: 2}}, stages: [skipgram]}
evaluate: {probe: {sources: all, senses: all}}
compare: {baseline: gpt, margin: 0.5}
"""


def write(folder: Path) -> None:
    for kind, first in (("notes", 0), ("songs", 100)):
        lines = [
            json.dumps({"kind": kind, "text": f"{f'{kind} ' * 20}{invented_text(first + k, 90)}"}) for k in range(40)
        ]
        (folder / f"{kind}.jsonl").write_text("\n".join(lines))
    (folder / "recipe.yaml").write_text(RECIPE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_variant_has_what_it_does_not_say_from_the_others() -> None:
    train = parse(RECIPE, []).train
    assert train is not None
    assert train.variants["muon"].model == train.variants["gpt"].model == train.model
    assert train.variants["gpt"].stages == train.stages != train.variants["muon"].stages
    assert train.variants["bert"].seeds == [0, 1]
    changed = parse(RECIPE, ["train.variants.bert.stages[0].masked_lm.lr=1e-3"]).train
    assert changed is not None and changed.variants["bert"].stages[0]["masked_lm"]["lr"] == 1e-3  # type: ignore[index]


def test_runs_are_named_by_mix_by_variant_or_by_both() -> None:
    assert list(parse(RECIPE, []).trainings) == ["gpt", "muon", "bert", "fasttext"]
    two = RECIPE.replace("  all: {all: 1}\n", "  all: {all: 1}\n  same: {all: 1}\n")
    runs = parse(two.replace("baseline: gpt", "baseline: all+gpt"), []).trainings
    assert list(runs)[:5] == ["all+gpt", "all+muon", "all+bert", "all+fasttext", "same+gpt"]
    assert runs["same+gpt"][0] == "same" and runs["same+gpt"][1] is runs["all+gpt"][1]
    alone = RECIPE[: RECIPE.index("  variants:")] + "compare: {baseline: all}\n"
    assert list(parse(alone, []).trainings) == ["all"]


def test_a_variant_adds_nothing_to_the_keys_of_the_others(place: Path) -> None:
    with_all = planned("recipe.yaml", [])
    (place / "recipe.yaml").write_text(RECIPE.replace("    muon: {stages", "    more: {stages"))
    other = planned("recipe.yaml", [])
    for step in ("mix:all", "train:gpt:0", "train:bert:1"):
        assert with_all.find(step).key == other.find(step).key
    assert with_all.find("train:gpt:0").key != with_all.find("train:muon:0").key


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("baseline: gpt", "baseline: gtp", "line 21: no run is called 'gtp': did you mean 'gpt'"),
        ("baseline: gpt", "baseline: all", "line 21: no run is called 'all'"),
        ("    gpt:\n", "    all:\n", "line 14: 'all' is a mix already"),
        ("baseline: gpt", "baseline: fasttext", "line 19: .*compare.* needs bits per byte"),
        ("baseline: gpt, ", "baseline: gpt, pin: source, ", "line 21: .*has variants"),
        ("muon: {stages", "muon: {seeds: [3], stages", "line 15: `seeds:` is that of all variants"),
        ("muon: {stages", "muon: {modle: x, stages", "line 15: .*no such word here: did you mean 'model'"),
        ("muon: {stages", "muon: {start: base, stages", "line 13: .*let all start from the same model, or none"),
        ("[{causal_lm: {lr: 1e-2, batch_tokens: 256, opt", "[{causl_lm: {opt", "line 15: .*did you mean 'causal_lm'"),
        ("{masked_lm: {", "{prefix_lm: {", "line 18: 'prefix_lm' trains causal models, and 'bert' is masked"),
        ("  model: {llama: {width: 16", "  model: {llama: {widht: 16", "line 11: .*did you mean 'width'"),
        ("    gpt:\n", "    gpt: {variants: {a: {}}}\n", "line 14: a variant has no variants"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(old: str, new: str, said: str) -> None:
    assert old in RECIPE
    with pytest.raises(RecipeError, match=said):
        parse(RECIPE.replace(old, new), [])


def test_no_variants_are_refused() -> None:
    start, end = RECIPE.index("  variants:"), RECIPE.index("evaluate:")
    with pytest.raises(RecipeError, match="line 13: no variant is named"):
        parse(RECIPE[:start] + "  variants: {}\n" + RECIPE[end:].replace("gpt", "all"), [])


def test_only_models_that_continue_a_text_are_asked(place: Path) -> None:
    tasks = RECIPE.replace("evaluate: {", "evaluate: {tasks: {from: all}, ")
    (place / "recipe.yaml").write_text(tasks)
    assert [step.name.names[0] for step in planned("recipe.yaml", []).of_kind("tasks")] == ["gpt", "muon"] * 2
    (place / "recipe.yaml").write_text(tasks.replace("baseline: gpt", "baseline: bert"))
    with pytest.raises(RecipeError, match="line 20: only models that continue a text can be asked"):
        planned("recipe.yaml", [])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variants")
    write(folder)
    found = command_line.windtunnel("run", "recipe.yaml", "--workers", "2", folder=folder)
    assert found.returncode == 0, found.stdout + found.stderr
    (folder / "printed.txt").write_text(found.stdout)
    return folder


def artifact(folder: Path, step: str) -> Path:
    (found,) = (folder / "runs").glob(f"{step}-*")
    return found


@pytest.mark.slow
def test_only_scores_of_one_measure_are_compared(done: Path) -> None:
    comparison = Comparison.read(artifact(done, "compare"))
    assert list(comparison.values) == ["gpt", "muon"] and [e.mix for e in comparison.effects] == ["muon"]
    assert comparison.effects[0].low is not None
    assert "on both of its sides" in comparison.incomparable["bert"]
    assert "no probability" in comparison.incomparable["fasttext"]
    printed = (done / "printed.txt").read_text()
    assert "bert does not compare with gpt" in printed and "not comparable" in printed


@pytest.mark.slow
def test_every_model_is_probed_on_the_same_items(done: Path) -> None:
    comparison = Comparison.read(artifact(done, "compare.probe"))
    assert set(comparison.values) == {"gpt", "muon", "bert", "fasttext"}
    items = [pl.read_parquet(artifact(done, f"probe.{name}.0") / "items.parquet") for name in comparison.values]
    for table in items:
        assert table.drop("correct").equals(items[0].drop("correct"))
    figures = json.loads((artifact(done, "probe.fasttext.0") / "probes.json").read_text())
    assert figures["sources"]["accuracy"] > 0.9 > figures["sources"]["chance"]  # every text begins with its kind
    assert abs(figures["senses"]["chance"] - 0.5) < 0.01
    assert figures["senses"]["low"] < figures["senses"]["accuracy"] < figures["senses"]["high"]


@pytest.mark.slow
def test_the_table_has_every_training_with_its_measure(done: Path) -> None:
    table = Table.read(artifact(done, "side_by_side"))
    rows = {row.run: row for row in table.rows}
    assert list(rows) == ["gpt", "muon", "bert", "fasttext"]
    assert (rows["bert"].model, rows["bert"].objective, rows["bert"].measure) == (
        "bert",
        "masked_lm",
        "pseudo_likelihood",
    )
    assert rows["fasttext"].score is None and rows["fasttext"].flops > 0
    assert rows["gpt"].score is not None and rows["gpt"].score.half is not None
    comparison = Comparison.read(artifact(done, "compare"))
    assert rows["muon"].score is not None
    assert rows["muon"].score.mean == pytest.approx(comparison.values["muon"], rel=1e-9)
    told = command_line.windtunnel("compare", "recipe.yaml", "--models", "--json", folder=done)
    assert json.loads(told.stdout) == [row.model_dump(mode="json") for row in table.rows]
    page = (artifact(done, "report") / "report.html").read_text()
    assert "<dt>trainings</dt><dd>4</dd>" in page and "<dt>mixes</dt><dd>1</dd>" in page
    assert "fasttext</span> <i>has no line, only" in page and "different measures, which do not compare" not in page
    assert "Side by side" in page and "bert does not compare with gpt" in page


@pytest.mark.slow
def test_nothing_is_done_again_and_one_variant_can_be_trained_alone(done: Path) -> None:
    again = command_line.windtunnel("run", "recipe.yaml", folder=done)
    assert "\n0 steps executed" in f"\n{again.stdout}"
    alone = command_line.windtunnel("train", "recipe.yaml", "bert", folder=done)
    assert alone.returncode == 0 and "train.bert.1-" in alone.stdout and "gpt" not in alone.stdout
