"""Parts written outside the package: one recipe of them all, run from elsewhere; on commands; and files that change."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from tests import command_line
from tests.generators.conftest import ScriptedServer, says, words
from windtunnel.pipelines.engine.changed_parts import changed_parts
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.engine.run import Progress, StepFailed, run
from windtunnel.pipelines.filters.length import Length
from windtunnel.pipelines.parts.skeleton import class_name, write_skeleton
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.views.part_view import print_part
from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest
from windtunnel.schemas.errors import RecipeError

ROOT = Path(__file__).resolve().parents[2]
OWN = ("source", "rule", "dedup", "generator", "objective", "delta", "schedule", "task")
CORPORA = """\
question: Do parts written elsewhere run?
store: {store}
corpora:
  raw: {{source: {{./parts/my_source.py:MySource: text}}}}
  mine:
    from: raw
    rules: [{{./parts/my_rule.py:MyRule: 3}}, {{length: {{min_words: 4}}}}]
    dedup: ./parts/my_dedup.py:MyDedup
"""
RECIPE = (
    CORPORA
    + """\
models:
  tiny: {{path: {model}}}
  writer: {{url: "{url}", model: m}}
generate:
  from_raw: {{with: {{./parts/my_generator.py:MyGenerator: {{model: writer, rows: 40}}}}, from: {{documents: raw}}}}
  from_mine: {{with: {{./parts/my_generator.py:MyGenerator: {{model: writer, rows: 40}}}}, from: {{documents: mine}}}}
held_out: {{from: [from_raw, from_mine], share: 0.2}}
mixes:
  raw: {{from_raw: 1}}
  mine: {{from_mine: 1}}
train:
  start: tiny
  context: 128
  schedule: {{./parts/my_schedule.py:MySchedule: {{warmup: 0.2}}}}
  seeds: [0, 1]
  stages: [{{./parts/my_objective.py:MyObjective: {{lr: 3e-2, batch_tokens: 256, delta: ./parts/my_delta.py:MyDelta}}}}]
evaluate: {{tasks: {{from: mine, tasks: [{{./parts/my_task.py:MyTask: {{items: 4}}}}]}}}}
compare: {{baseline: raw}}
"""
)
REASON = "too_many<b>"  # a rule's words are a user's: pages escape them


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Return a directory with `recipe/parts/`, the parts, and `elsewhere/`, where commands are given and text lies."""
    for kind in OWN:
        write_skeleton(kind, f"my_{kind}", tmp_path / "recipe" / "parts")
    rule = tmp_path / "recipe" / "parts" / "my_rule.py"
    rule.write_text(rule.read_text().replace("too_many_marks", REASON))
    (tmp_path / "elsewhere" / "text").mkdir(parents=True)
    draw = random.Random(0)
    vocabulary = ["the", "river", "town", "mill", "walk", "people", "see", "long", "old", "bridge", "house", "stone"]
    for file in range(3):
        documents = [
            f"Title {draw.randrange(40)}\nThe {' '.join(draw.choices(vocabulary, k=9))}{'!' * (d % 5)}."
            for d in range(25)
        ]
        (tmp_path / "elsewhere" / "text" / f"{file}.parts").write_text("\n===\n".join([*documents, ""]))
    return tmp_path


@pytest.fixture
def writer() -> Iterator[ScriptedServer]:
    """Return a server whose model asks a question that depends on the request."""
    server = ScriptedServer()
    server.script = lambda body, before: says(f"What is {words(body)}?")
    yield server
    server.shutdown()
    server.server_close()


def windtunnel(where: Path, *arguments: str, code: int = 0) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT / ".src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "windtunnel", *arguments]
    done = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def here(where: Path, *arguments: str, code: int = 0) -> str:
    """Run a command that starts no processes in this one."""
    done = command_line.windtunnel(*arguments, folder=where)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def artifact(store: Path, step: str) -> Artifact:
    (found,) = store.glob(f"{step.replace(':', '.')}-*")
    return Artifact(found)


@pytest.mark.slow
def test_a_recipe_of_parts_from_outside_runs_to_its_report(
    places: Path, writer: ScriptedServer, chat_model: Path
) -> None:
    elsewhere = places / "elsewhere"
    text = RECIPE.format(store="store", model=chat_model, url=writer.url)
    (places / "recipe" / "own.yaml").write_text(text)
    assert "0 cached" in windtunnel(elsewhere, "plan", "../recipe/own.yaml")
    assert "report.html" in windtunnel(elsewhere, "run", "../recipe/own.yaml", "--workers", "2")
    assert "0 steps executed" in windtunnel(elsewhere, "run", "../recipe/own.yaml", "--workers", "2")

    store = elsewhere / "store"
    decided = artifact(store, "decide:mine").manifest
    assert decided.counts["dropped"][f"my_rule.{REASON}"] > 0
    assert artifact(store, "my_dedup:mine").manifest.counts["dropped"]["my_dedup"] > 0
    rows = pl.concat(pl.read_parquet(file) for file in artifact(store, "generate:from_mine").files("rows"))
    assert 0 < len(rows) <= 40 and json.loads(rows["lineage"][0])["kind"] == "my_generator"
    parts = {(part.kind, part.reference) for part in artifact(store, "train:mine:1").manifest.parts}
    own = {(kind, f"./parts/my_{kind}.py:{class_name(f'my_{kind}')}") for kind in ("objective", "delta", "schedule")}
    assert own <= parts
    assert all(len(part.digest) == 32 for part in artifact(store, "train:mine:1").manifest.parts)
    assert artifact(store, "tasks:mine:0").manifest.counts["kept"] > 0
    result = json.loads((artifact(store, "train:mine:0").path / "result.json").read_text())
    assert result["objective"] == "my_objective"

    page = (artifact(store, "report").path / "report.html").read_text()
    assert "many&lt;b&gt;" in page and "many<b>" not in page
    assert "./parts/my_generator.py:MyGenerator" in page
    windtunnel(elsewhere, "card", "../recipe/own.yaml")
    card = (artifact(store, "corpus:mine").path / "README.md").read_text()
    assert "my_dedup" in card and "my_rule" in card and REASON not in card


@pytest.mark.parametrize("executor", [pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(300)])])
def test_a_corpus_of_parts_from_outside_is_the_same_elsewhere(executor: str, places: Path) -> None:
    if executor == "ray":
        pytest.importorskip("ray")
    for where in ("local", executor):
        (places / "recipe" / f"{where}.yaml").write_text(CORPORA.format(store=f"store-{where}"))
        more = ("--executor", where, "--workers", "2")
        windtunnel(places / "elsewhere", "corpus", f"../recipe/{where}.yaml", *more)
    here, there = (
        {
            (path.parts[-2], path.name): path.read_bytes()
            for path in artifact(places / "elsewhere" / f"store-{where}", "corpus:mine").path.rglob("*.parquet")
        }
        for where in ("local", executor)
    )
    assert here == there and here


def keys(recipe: Path) -> dict[str, str]:
    return {step.name: step.key for step in planned(str(recipe), []).steps}


def test_any_edit_of_a_file_makes_the_steps_that_use_it_anew_and_no_others(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places / "elsewhere")
    recipe = places / "recipe" / "own.yaml"
    recipe.write_text(CORPORA.format(store="store"))
    before = keys(recipe)
    assert keys(recipe) == before
    expected = {
        "rule": {"measure:mine", "decide:mine"},
        "dedup": {"my_dedup_sign:mine"},
        "source": set(before) - {"report"},
    }
    for kind, changed in expected.items():
        file = places / "recipe" / "parts" / f"my_{kind}.py"
        text = file.read_text()
        file.write_text(text + "# a comment\n")
        new = {name for name, key in keys(recipe).items() if key != before[name]}
        assert changed <= new and ("read:raw" in new) == (kind == "source"), (kind, new)
        file.write_text(text)
    assert keys(recipe) == before
    moved = places / "other"
    shutil.copytree(places / "recipe", moved)
    assert keys(moved / "own.yaml") == before  # where the recipe lies is no part of a key


class Telling(Progress):
    """Keeps what the run says, and edits a file when a stage with a step of some kind begins."""

    def __init__(self, file: Path | None = None, kind: str = "") -> None:
        self.lines: list[str] = []
        self.file, self.kind = file, kind

    def say(self, line: str) -> None:
        self.lines.append(line)

    def stage(self, steps: Any, tasks: Any) -> None:
        if self.file and any(step.kind == self.kind for step in steps):
            self.file.write_text(self.file.read_text() + "# changed\n")


def test_a_worker_refuses_a_file_that_changed_during_the_run(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places / "elsewhere")
    recipe, rule = places / "recipe" / "own.yaml", places / "recipe" / "parts" / "my_rule.py"
    recipe.write_text(CORPORA.format(store="store"))
    targets = [step for step in planned(str(recipe), []).steps if step.name == "corpus:mine"]
    message = r"step measure:mine.*my_rule.py changed during the run: run again to use the new file"
    with pytest.raises(StepFailed, match=message):
        run(targets, Path("store"), Where(workers=2), Telling(rule, "measure"))
    targets = [step for step in planned(str(recipe), []).steps if step.name == "corpus:mine"]
    outcome = run(targets, Path("store"), Where(workers=2), Telling())
    assert "measure:mine" in outcome.executed and "read:raw" not in outcome.executed


def test_a_built_in_file_that_changed_without_its_version_is_told(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places / "elsewhere")
    recipe, store = places / "recipe" / "own.yaml", Path("store")
    recipe.write_text(CORPORA.format(store=store))

    def target() -> list[Any]:
        return [step for step in planned(str(recipe), []).steps if step.name == "decide:mine"]

    said = Telling()
    run(target(), store, Where(workers=2), said)
    assert said.lines == [] == changed_parts(target(), store)
    file = artifact(store, "decide:mine").path / MANIFEST
    manifest = Manifest.read(file)
    old = {"digest": "0" * 32}  # as an earlier state of the file would have left it
    parts = [part.model_copy(update=old) if part.reference == "length" else part for part in manifest.parts]
    manifest.model_copy(update={"parts": parts}).write(file)
    outcome = run(target(), store, Where(workers=2), said)
    assert outcome.executed == [] and len(said.lines) == 1
    assert "decide:mine: the file of rule 'length' has changed" in said.lines[0]
    monkeypatch.setattr(Length, "version", Length.version + 1)
    assert changed_parts(target(), store) == []
    monkeypatch.undo()
    monkeypatch.chdir(places / "elsewhere")
    assert len(changed_parts(target(), store)) == 1


def test_a_file_that_cannot_be_read_costs_its_own_documents_or_is_named(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(places / "elsewhere")
    recipe, source = places / "recipe" / "own.yaml", places / "recipe" / "parts" / "my_source.py"
    recipe.write_text(CORPORA.format(store="store"))
    Path("text/1.parts").write_bytes(b"Good.\n===\ncaf\xe9\n===\nGood too.")
    Path("text/2.parts.gz").write_bytes(gzip.compress(b"Packed."))

    def read() -> None:
        steps = [step for step in planned(str(recipe), []).steps if step.name == "read:raw"]
        run(steps, Path("store"), Where(workers=1))

    read()
    done = artifact(Path("store"), "read:raw")
    counts = done.manifest.counts
    assert counts["unreadable"]["invalid_utf8"] == 1
    texts = pl.read_parquet(done.files("documents"))["text"].to_list()
    assert {"Good.", "Good too.", "Packed."} <= set(texts)
    source.write_text(source.read_text().replace("except UnicodeDecodeError", "except KeyError"))
    with pytest.raises(StepFailed, match=r"failed in reading text/1.parts: UnicodeDecodeError: .*position 3"):
        read()
    (errors,) = Path("store").glob("read.raw-*/errors/*.json")
    assert "failed in reading text/1.parts: UnicodeDecodeError" in json.loads(errors.read_text())["message"]
    source.write_text(
        source.read_text().replace("text = data.decode", "raise InputError('odd')\n            text = data")
    )
    source.write_text(
        source.read_text().replace("import pyarrow", "from windtunnel.schemas.errors import InputError\nimport pyarrow")
    )
    with pytest.raises(StepFailed, match=r"own source: text/0.parts: odd"):
        read()


COLLIDES = """
import polars as pl
from windtunnel.pipelines.filters._rule import Rule, above

class MyRule(Rule):
    def measure(self, batch):
        return {body}
    def reasons(self):
        return above("many", pl.col("words"), 3)
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('pl.DataFrame({"words": [1] * batch.num_rows})', "measures a column 'words', which is a column of the shared"),
        ('pl.DataFrame({"id": [1] * batch.num_rows})', "measures a column 'id', which is a column of the documents"),
        ('pl.DataFrame({"x": [batch["text"][0]]})', r"failed in `measure`: .* \(on a batch without documents"),
    ],
)  # fmt: skip
def test_a_column_that_collides_is_told_when_the_recipe_is_planned(
    places: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    monkeypatch.chdir(places / "elsewhere")
    recipe = places / "recipe" / "own.yaml"
    recipe.write_text(
        CORPORA.format(store="store").replace("{./parts/my_rule.py:MyRule: 3}", "./parts/my_rule.py:MyRule")
    )
    (places / "recipe" / "parts" / "my_rule.py").write_text(COLLIDES.format(body=body))
    with pytest.raises(RecipeError, match=r"own.yaml, line 7: rule './parts/my_rule.py:MyRule' " + message):
        planned(str(recipe), [])


def test_filter_and_dedup_take_parts_beside_the_working_directory(tmp_path: Path) -> None:
    for kind in ("rule", "dedup"):
        write_skeleton(kind, f"my_{kind}", tmp_path)
    texts = ["Same\none", "Same\ntwo", "Stop!!!!!!!!!", "Other"]
    pl.DataFrame({"text": texts}).write_ndjson(tmp_path / "in.jsonl")
    said = here(tmp_path, "filter", "in.jsonl", "kept", "--rules", "length,./my_rule.py:MyRule")
    assert "4 in, 0 kept" in said and "length.too_few_words" in said
    here(tmp_path, "filter", "in.jsonl", "marks", "--rules", "./my_rule.py:MyRule")
    dropped = pl.read_parquet(tmp_path / "marks" / "dropped" / "*.parquet")
    assert dropped["reason"].to_list() == ["my_rule.too_many_marks"]
    here(tmp_path, "dedup", "in.jsonl", "out", "--kind", "{./my_dedup.py:MyDedup: {keep: longest}}")
    assert pl.read_parquet(tmp_path / "out" / "kept" / "*.parquet")["text"].to_list() == [texts[0], *texts[2:]]
    refused = here(tmp_path, "filter", "in.jsonl", "no", "--rules", "../my_rule.py:MyRule", code=2)
    assert "must lie in the working directory" in refused


def test_a_law_and_a_judge_are_taken_by_the_commands_that_use_them(tmp_path: Path) -> None:
    for kind in ("law", "judge"):
        write_skeleton(kind, f"my_{kind}", tmp_path)
    runs = pl.DataFrame({"w_a": [k / 11 for k in range(12)]}).with_columns(w_b=1 - pl.col("w_a"))
    runs.with_columns(loss=2 * pl.col("w_a") + 3 * pl.col("w_b")).write_csv(tmp_path / "runs.csv")
    law = here(
        tmp_path, "law", "runs.csv", "--weights", "w_*", "--target", "loss", "--form", "./my_law.py:MyLaw", "--json"
    )
    assert json.loads(law)["loo_rmse"] < 0.01
    pair = {
        "prompt": "Where does the river end?",
        "response_a": "The river ends.",
        "response_b": "No.",
        "labels": ["a"],
    }
    pl.DataFrame([{**pair, "id": str(k)} for k in range(6)]).write_ndjson(tmp_path / "pairs.jsonl")
    found = here(tmp_path, "judge", "calibrate", "pairs.jsonl", "--judge", "./my_judge.py:MyJudge", "--json")
    assert json.loads(found)["agreement"] == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [("json_schema", "a value stands under its name: `{json_schema: {expect: ...}}`"), ("regex", "a bare value is `")],
)
def test_a_listing_says_how_a_value_without_a_name_is_read(name: str, words: str) -> None:
    console = Console(file=io.StringIO(), width=200)
    print_part("reward", name, False, console)
    assert words in console.file.getvalue()  # type: ignore[attr-defined]
