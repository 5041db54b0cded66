"""Variants that begin alike train these stages once, to the bytes that each would have trained alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests import command_line
from windtunnel.pipelines.datasets.chat_split import ChatSplit
from windtunnel.pipelines.datasets.mix_rows import MixRows
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.rows.read_rows import read_rows_work
from windtunnel.pipelines.views.cards import write_cards
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.encoded_rows import encoded_of
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.results import RunResult
from windtunnel.schemas.side_by_side import Table
from windtunnel.trainer.loop.run import TrainRun

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
RECIPE = """\
question: Which preference objective?
store: runs
rows:
  talks: {source: {jsonl: talks.jsonl}}
  pairs: {source: {jsonl: pairs.jsonl}}
  others: {source: {jsonl: others.jsonl}}
held_out: {from: [talks], share: 0.2}
mixes:
  mine: {talks: 1, pairs: 1}
  theirs: {talks: 1, others: 1}
row_mixes: {by: rows}
tokens: {tokenizer: {bpe: 300, trained_on: talks}}
train:
  seeds: [0]
  model: {llama: {width: 16, layers: 1, heads: 2, context: 256}}
  stages: [{sft: {lr: 1e-2, batch_tokens: 512}}, {dpo: {lr: 1e-3, batch_tokens: 512}}]
  watch: {validate: 0.5}
  variants:
    dpo:
    far: {stages: [{sft: {lr: 1e-2, batch_tokens: 512}}, {dpo: {lr: 1e-3, batch_tokens: 512, beta: 0.5}}]}
    kto: {stages: [{sft: {lr: 1e-2, batch_tokens: 512}}, {kto: {lr: 1e-3, batch_tokens: 512}}]}
    slow: {stages: [{sft: {lr: 1e-3, batch_tokens: 512}}, {orpo: {lr: 1e-3, batch_tokens: 512}}]}
compare: {baseline: mine+dpo}
"""


def said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def write(folder: Path) -> None:
    def question(k: int) -> list[dict[str, str]]:
        return said("user", f"What comes after {NUMBERS[k % 8]} and {NUMBERS[k // 8 % 8]} in row {k}?")

    talks = [{"messages": question(k) + said("assistant", f"{NUMBERS[(k + 1) % 8]}, I think.")} for k in range(64)]
    for name, first in (("pairs", 100), ("others", 300)):
        rows = [
            {
                "prompt": question(k),
                "chosen": said("assistant", NUMBERS[(k + 1) % 8]),
                "rejected": said("assistant", "no"),
            }
            for k in range(first, first + 48)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "talks.jsonl").write_text("\n".join(map(json.dumps, talks)))
    (folder / "recipe.yaml").write_text(RECIPE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_trainings_that_begin_alike_start_from_one_step(place: Path) -> None:
    made = planned("recipe.yaml", [])
    first = made.of_kind("first_stages")
    assert [str(step.name) for step in first] == ["first_stages:mine+sft:0", "first_stages:mine+sft#2:0"]
    shared, slow = first
    runs = [f"train:{mix}+{name}:0" for mix in ("mine", "theirs") for name in ("dpo", "far", "kto")]
    assert all(made.find(run).inputs["earlier"] is shared for run in runs)  # also of mixes with other pairs
    assert made.find("train:theirs+slow:0").inputs["earlier"] is slow
    assert "preferences" not in shared.inputs and made.find(runs[0]).inputs["preferences"].name == "pairs:mine"
    assert made.find("train:mine+far:0").work.stages[0]["dpo"]["beta"] == 0.5
    assert made.find("compare").work.called == "training"


def test_other_conversations_seeds_or_settings_share_nothing(place: Path) -> None:
    def names(text: str) -> list[str]:
        (place / "recipe.yaml").write_text(text)
        return [str(step.name) for step in planned("recipe.yaml", []).of_kind("first_stages")]

    assert len(names(RECIPE.replace("seeds: [0]", "seeds: [0, 1]"))) == 4
    half = RECIPE.replace("others: 1}", "others: 1, pairs: 1}")
    assert len(names(half)) == 2  # shares of pairs alone
    more = RECIPE.replace("  theirs: {talks: 1,", "  theirs: {extra: 1, talks: 1,").replace(
        "  pairs: {source", "  extra: {source: {jsonl: talks.jsonl}}\n  pairs: {source"
    )
    assert len(names(more)) == 4
    assert len(names(RECIPE.replace("    far: {", "    far: {schedule: constant, "))) == 3


def test_a_further_variant_changes_no_key(place: Path) -> None:
    before = planned("recipe.yaml", [])
    further = "    more: {stages: [{sft: {lr: 1e-2, batch_tokens: 512}}, {reward: {}}, {dpo: {}}]}\ncompare:"
    (place / "recipe.yaml").write_text(RECIPE.replace("compare:", further.replace("{reward: {}}, ", "")))
    after = planned("recipe.yaml", [])
    same = [step for step in before.steps if step.kind in ("train", "first_stages")]
    assert len(same) == 10 and all(after.find(step.name).key == step.key for step in same)
    alone = RECIPE.replace(RECIPE[RECIPE.index("    far:") : RECIPE.index("compare:")], "")
    (place / "recipe.yaml").write_text(alone.replace("baseline: mine+dpo", "baseline: mine+dpo"))
    for name in ("first_stages:mine+sft:0", "train:mine+dpo:0"):
        assert planned("recipe.yaml", []).find(name).key == before.find(name).key


def test_a_reward_stage_stands_aside_for_the_next_one(place: Path) -> None:
    """The policy goes on from the model before it, and is given its model by name; both stages are shared."""
    on_replies = "{reward: model, rounds: 2, prompts: 8, max_tokens: 8}"
    first = "{sft: {lr: 1e-2, batch_tokens: 512}}, {reward: {lr: 1e-3}}"
    more = "".join(f"    {name}: {{stages: [{first}, {{{name}: {on_replies}}}]}}\n" for name in ("ppo", "grpo"))
    (place / "recipe.yaml").write_text(RECIPE.replace("compare:", more + "compare:"))
    made = planned("recipe.yaml", [])
    shared, judge = made.find("first_stages:mine+sft:0"), made.find("first_stages:mine+sft+reward:0")
    assert shared is not None and judge is not None and judge.inputs["earlier"] is shared
    for name in ("ppo", "grpo"):
        run = made.find(f"train:mine+{name}:0")
        assert run.inputs["earlier"] is shared and run.inputs["model:reward"] is judge and run.work.earlier == 2
    other = made.find("first_stages:theirs+sft+reward:0")  # other pairs, the same conversations
    assert other is not judge and other.inputs["earlier"] is shared


def test_a_reward_model_that_no_stage_trains_is_said_before_anything_runs(place: Path) -> None:
    for reward in ("model", "{weighted: [{reward: model}, {reward: {length: 9}}]}"):
        more = f"    ppo: {{stages: [{{sft: {{}}}}, {{ppo: {{reward: {reward}}}}}]}}\ncompare:"
        (place / "recipe.yaml").write_text(RECIPE.replace("compare:", more))
        with pytest.raises(RecipeError, match="reads the model that a stage `reward` trains, and none is before it"):
            planned("recipe.yaml", [])


def files(folder: Path) -> dict[str, bytes]:
    """Return what a run is: the model, and what its stages say of themselves but for times."""
    names = ("model/model.safetensors", "log.parquet", "scores.parquet", "encoded.json", "realised.parquet")
    return {
        f"{stage}{name}": (folder / stage / name).read_bytes()
        for stage in ("", "stage0/")
        for name in names
        if (folder / stage / name).exists() and f"{stage}{name}" != "stage0/model/model.safetensors"
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first-stages")
    write(folder)
    found = command_line.windtunnel("run", "recipe.yaml", "--workers", "2", folder=folder)
    assert found.returncode == 0, found.stdout + found.stderr
    return folder


def artifact(folder: Path, step: str) -> Path:
    (found,) = (folder / "runs").glob(f"{step}-*")
    return found


@pytest.mark.slow
def test_models_are_those_of_trainings_alone(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(done)
    whole = planned("recipe.yaml", [], divided=False)
    store = done / "runs"
    for name in ("mine+dpo", "theirs+kto"):
        step = whole.find(f"train:{name}:0")
        assert len(step.work.stages) == 2
        inputs: dict[str, Any] = {role: each.artifact(store) for role, each in step.inputs.items()}
        assert all(each.sound for each in inputs.values())
        (tmp_path / name).mkdir()
        step.work.run(inputs, tmp_path / name, 0)
        shared = artifact(done, f"train.{name}.0")
        alone, together = files(tmp_path / name), files(shared)
        assert alone == together and {"stage0/log.parquet", "model/model.safetensors"} <= alone.keys()
        told = [[part.model_dump() for part in encoded_of(run)] for run in (tmp_path / name, shared)]
        assert told[0] == told[1] and {part["role"] for part in told[0]} >= {"conversations", "preferences"}


@pytest.mark.slow
def test_costs_are_those_of_each_model_and_are_counted_once_in_totals(done: Path) -> None:
    first = artifact(done, "first_stages.mine+sft.0")
    sft = RunResult.model_validate_json((first / "result.json").read_bytes())
    own = RunResult.model_validate_json((artifact(done, "train.mine+far.0") / "result.json").read_bytes())
    rows = {row.run: row for row in Table.read(artifact(done, "side_by_side")).rows}
    row = rows["mine+far"]
    assert (row.objective, row.tokens, row.flops) == ("sft + dpo", sft.tokens + own.tokens, sft.flops + own.flops)
    manifest = json.loads((artifact(done, "train.mine+far.0") / "manifest.json").read_bytes())
    assert manifest["counts"]["tokens"] == own.tokens and manifest["counts"]["flops"] == own.flops
    text = (artifact(done, "report") / "report.html").read_text()
    assert "first_stages" in text and "a stage that several share was trained once" in text
    assert "mine+dpo (implicit reward)" in text and "mine+slow (nats per token)" in text  # histograms of two measures


@pytest.mark.slow
def test_the_card_of_a_model_lists_the_stages_that_it_shares(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(done)
    said: list[str] = []
    write_cards("recipe.yaml", [], say=said.append)
    text = (artifact(done, "train.mine+far.0") / "README.md").read_text(encoding="utf-8")
    settings = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert [next(iter(stage)) for stage in settings["stages"]] == ["sft", "dpo"] and "earlier" not in settings
    assert "| tokens of answers |" in text and "over one seed, which shows no spread: " in text and said == []
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    rows = {first: rest[-1] for first, *rest in cells if rest}
    assert rows["response\\_bits\\_per\\_byte"].isdigit() and not any(name.startswith("held") for name in rows)
    write_cards("recipe.yaml", ["train.seeds=[0, 1]"], say=said.append)
    assert len(said) == 1 and said[0].startswith("no card of train:mine+dpo:1, ") and "train:mine+dpo:0" not in said[0]


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do_and_watch_shows_all(done: Path) -> None:
    found = command_line.windtunnel("watch", "recipe.yaml", "--json", folder=done)
    seen = {run["run"]: run["state"] for run in json.loads(found.stdout)}
    assert len(seen) == 10 and set(seen.values()) == {"finished"}
    assert "first_stages:mine+sft:0" in seen
    listed = command_line.windtunnel("plan", "recipe.yaml", "--json", folder=done)
    assert listed.returncode == 0 and '"to do"' not in listed.stdout


def test_a_damaged_file_of_an_earlier_stage_is_that_stages_alone() -> None:
    work = TrainRun(mix="m", seed=0, stages=("dpo",), earlier=1)
    all_files = {"stage0/log.parquet", "stage0/result.json", "log.parquet", "model/model.safetensors"}
    assert work.redone({"stage0/log.parquet"}, all_files) == all_files
    assert work.redone({"model/model.safetensors"}, all_files) == {"log.parquet", "model/model.safetensors"}


def test_labels_of_single_answers_reach_the_stage_that_learns_from_them(tmp_path: Path) -> None:
    labels = [True, False, True, True, False, True]
    records = [
        {"prompt": f"Is {NUMBERS[k]} odd?", "completion": f"It is, {k}.", "label": x} for k, x in enumerate(labels)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    read_rows_work({"jsonl": str(tmp_path / "a.jsonl")}).run({}, tmp_path / "read", 0)
    ChatSplit(side="train", share=0.0).run({"rows": Artifact(tmp_path / "read")}, tmp_path / "split", 0)
    MixRows(weights={"a": 1.0}, by="rows").run({"rows:a": Artifact(tmp_path / "split")}, tmp_path / "mix", 0)
    rows = [row for file in (tmp_path / "mix" / "rows").glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    said_of = {row["messages"][-1]["content"]: row["label"] for row in rows}
    assert said_of == {record["completion"]: record["label"] for record in records}
