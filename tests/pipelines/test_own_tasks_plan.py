"""Tasks of a recipe on one's own files: the short form, what is refused in planning, keys by content, comparisons."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.recipe import json_schema
from windtunnel.pipelines.recipe.shipped import load
from windtunnel.schemas.artifact import write_parquet
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.results import Comparison
from windtunnel.trainer.eval.task_scores import lines_of, table_of
from windtunnel.trainer.stats.compare import Compare
from windtunnel.trainer.tasks._evaluation import Row

SHORT = "evaluate={tasks: [{choices: quiz.jsonl}, {exact: {file: quiz2.jsonl, name: facts}}]}"


def planned(*sets: str) -> Plan:
    return plan(load("quickstart", ["train.seeds=[0, 1]", *sets]))


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quiz.jsonl").write_text('{"question": "Which?", "choices": ["a", "b"], "answer": 0}\n')
    (tmp_path / "quiz2.jsonl").write_text('{"question": "What?", "answer": "it"}\n')
    return tmp_path


def test_a_list_of_tasks_needs_no_corpus_and_is_keyed_by_the_content_of_its_files(files: Path) -> None:
    made = planned(SHORT)
    step = made.find("tasks:raw:0")
    assert step is not None and set(step.inputs) == {"run"}
    comparison = made.find("compare:tasks")
    assert comparison is not None and comparison.work.on == "questions of your own (quiz, facts)"
    long = planned(
        "evaluate={tasks: {tasks: [{choices: {file: quiz.jsonl}}, {exact: {file: quiz2.jsonl, name: facts}}]}}"
    )
    assert long.find("tasks:raw:0").key == step.key
    (files / "quiz.jsonl").write_text('{"question": "Which?", "choices": ["a", "b"], "answer": 1}\n')
    assert planned(SHORT).find("tasks:raw:0").key != step.key
    both = planned("evaluate={tasks: {from: raw, tasks: [copying, {choices: quiz.jsonl}]}}")
    assert set(both.find("tasks:raw:0").inputs) == {"run", "documents"}
    assert both.find("compare:tasks").work.on.endswith("made from documents of raw and questions of your own (quiz)")


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("[copying]", "'copying' is made from documents: name a corpus"),
        ("[{choices: quiz.jsonl}, {exact: quiz.jsonl}]", "two tasks are called 'quiz'"),
        ("[{choices: quiz2.jsonl}]", "quiz2.jsonl, line 1: "),
        ("[{choices: none.jsonl}]", "none.jsonl cannot be read: No such file"),
        ("[{choices: {file: quiz.jsonl, form: digits}}]", "'cloze' or 'letters'"),
        ("[{chioces: quiz.jsonl}]", "did you mean 'choices'"),
        ("[{lm_eval: none.yaml}]", "none.yaml cannot be read"),
        ("[]", "at least 1 item"),
    ],
)
def test_tasks_that_cannot_be_are_refused_when_the_recipe_is_planned(tasks: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        planned(f"evaluate={{tasks: {tasks}}}")


def test_the_schema_for_editors_knows_both_forms() -> None:
    forms = json_schema()["$defs"]["Evaluate"]["properties"]["tasks"]["anyOf"]
    assert {form.get("type", "object") for form in forms} == {"object", "array", "null"}


def test_own_questions_are_compared_by_task(files: Path) -> None:
    from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest

    inputs = {}
    for mix in ("raw", "new"):
        for seed in range(2):
            rows = {
                name: [
                    Row(str(k), "p", "", "r", float((k + seed) % 3 == 0 or (mix == "new" and k % 2 == 0)), f"g{k // 2}")
                    for k in range(40)
                ]
                for name in ("quiz", "facts")
            }
            folder = files / f"tasks-{mix}-{seed}"
            folder.mkdir()
            lines = [line for name, found in rows.items() for line in lines_of(name, found)]
            write_parquet(folder / "items.parquet", table_of(lines))
            Manifest(step=f"tasks:{mix}:{seed}", version=1, key="0" * 32, config={}).write(folder / MANIFEST)
            inputs[f"run:{mix}:{seed}"] = Artifact(folder)
    (files / "out").mkdir()
    work = Compare(baseline="raw", metric="correct", direction="higher", span=1.0, scores="items.parquet", on="own")
    work.run(inputs, files / "out", 0)
    comparison = Comparison.read(files / "out")
    assert {domain.name: domain.documents for domain in comparison.on.domains} == {"quiz": 40, "facts": 40}
    assert comparison.effects[0].effect > 0.2
    matrix = pl.read_parquet(files / "out" / "loss_matrix.parquet")
    assert set(matrix["source"]) == {"quiz", "facts"} and json.loads((files / "out" / "comparison.json").read_text())


def test_lone_surrogates_of_replies_reach_the_table_as_question_marks() -> None:
    table = table_of(lines_of("t", [Row("a", "p", "", "x\ud800y", 0.0)]))
    assert isinstance(table, pa.Table) and table["reply"].to_pylist() == ["x?y"]
