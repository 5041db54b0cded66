"""Tasks of a recipe on one's own files: the short form, what is refused in planning, keys by content, comparisons."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from rich.console import Console

from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.plan.plan import Plan
from windtunnel.pipelines.recipe.recipe import json_schema
from windtunnel.pipelines.recipe.shipped import load
from windtunnel.pipelines.report.results import Results
from windtunnel.pipelines.report.sections.measures import Measures
from windtunnel.pipelines.report.wording import further, items_of, not_asked
from windtunnel.pipelines.views.tables import print_further
from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest, write_parquet
from windtunnel.schemas.errors import InputError, RecipeError
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
    on = both.find("compare:tasks").work.on
    assert "made from documents of raw and questions of your own (quiz); raw is a corpus that the mixes hold" in on
    tax = "evaluate={tasks: {from: raw, tasks: [alignment_tax]}}"
    on = "documents of raw, by how likely their tokens are"
    read = "; raw is a corpus that the mixes hold, so some of its documents may have been read in training"
    assert planned(tax).find("compare:tasks").work.on == on + read
    apart = "corpora.other={source: {samples: [api_docs]}}"
    other = planned(apart, tax.replace("from: raw", "from: other")).find("compare:tasks").work.on
    assert other == on.replace("raw", "other")


def test_scores_of_other_kinds_are_no_means_together(files: Path) -> None:
    """A probability, a share of words and a share right are three comparisons, under their own names."""
    both = "{choices: {file: quiz.jsonl, score: probability}}, {choices: {file: quiz.jsonl, name: q2, score: acc}}"
    made = planned(f"evaluate={{tasks: [{both}, {{exact: quiz2.jsonl}}, repetition]}}")
    steps = {step.name: step.work for step in made.of_kind("compare") if step.name != "compare"}
    assert {name: (work.score, work.on) for name, work in steps.items()} == {
        "compare:tasks": ("", "questions of your own (q2, quiz2)"),
        "compare:tasks:probability": ("probability", "questions of your own (quiz)"),
        "compare:tasks:word_accuracy": ("word_accuracy", "made-up items (repetition)"),
    }
    alone = planned("evaluate={tasks: [{choices: {file: quiz.jsonl, score: probability}}]}").find("compare:tasks")
    assert alone is not None and alone.work.score == "probability"


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


def scored(folder: Path, name: str, lines: list[dict[str, Any]], dropped: dict[str, int]) -> Artifact:
    folder.mkdir()
    write_parquet(folder / "items.parquet", table_of(lines))
    counts = {"dropped": dropped}
    Manifest(step=name, version=1, key="0" * 32, config={}, counts=counts).write(folder / MANIFEST)
    return Artifact(folder)


def test_questions_that_models_were_not_asked_are_told(files: Path) -> None:
    """The other model has a shorter context: parts of `quiz`, and all of `far`, are beyond it or both."""
    inputs = {}
    for mix, most in (("raw", 9), ("short", 6)):
        for seed in range(2):
            rows = [Row(str(k), "p", "", "r", float((k + seed) % 3 == 0), part="near") for k in range(most)]
            lines = [*lines_of("quiz", rows), *lines_of("other", rows)]
            dropped = {"quiz/near:too_long": 9 - most, "quiz/far:too_long": 9, "other:special_token": 1}
            name = f"{mix}:{seed}"
            kept = {key: number for key, number in dropped.items() if number}
            inputs[f"run:{name}"] = scored(files / name.replace(":", "."), f"tasks:{name}", lines, kept)
    (files / "out").mkdir()
    fields = {"tasks": {"quiz": "probability", "other": ""}, "score": "probability", "scores": "items.parquet"}
    work = Compare(baseline="raw", metric="correct", direction="higher", span=1.0, on="own", **fields)
    work.run(inputs, files / "out", 0)
    found = Comparison.read(files / "out")
    assert {domain.name: domain.documents for domain in found.on.domains} == {"quiz/near": 6}
    assert (found.unit, found.left_out, found.questions) == ("probability", 3, {"quiz/near": 9, "quiz/far": 9})
    assert items_of(found) == {"quiz/far": "0 of 9", "quiz/near": "6 of 9"}
    assert not_asked(found) == [
        "Not asked of raw, too_long: 9 of quiz/far.",
        "Not asked of short, too_long: 3 of quiz/near; 9 of quiz/far.",
        "Not compared, as only some of the models were asked: 3.",
    ]
    console = Console(file=io.StringIO(), width=100, record=True)
    print_further("tasks:probability", files / "out", console)
    told = console.export_text()
    tax = found.model_copy(update={"unit": "token accuracy"})
    assert further("tasks:token_accuracy", tax)[:2] == ("likelihood of texts", "share of tokens found the likeliest")
    assert "checkable tasks (6 items, probability of the right answer): raw" in told
    assert "quiz/far" in told and "0 of 9" in told and "too_long: 9 of quiz/far" in told
    Manifest(step="compare:tasks:probability", version=1, key="0" * 32, config={}).write(files / "out" / MANIFEST)
    section = Measures.of(Results({}, {"compare:tasks:probability": Artifact(files / "out")}))
    assert section is not None and section.measures[0].value == "probability of the right answer"
    assert [(part.name, part.items) for part in section.measures[0].parts] == [
        ("quiz/far", "0 of 9"), ("quiz/near", "6 of 9")
    ]  # fmt: skip
    assert section.measures[0].notes[-3:] == not_asked(found)
    with pytest.raises(InputError, match="no question of the tasks was asked of every model"):
        Compare(baseline="raw", **fields | {"tasks": {"quizzes": "probability"}}).run(inputs, files / "out", 0)


def test_held_out_answers_that_models_were_not_asked_are_told_by_source(files: Path) -> None:
    """Without tasks all sources are compared, on what every model was asked; drops without a source are no refusals."""
    inputs = {}
    for mix, most in (("raw", 9), ("short", 6)):
        for seed in range(2):
            rows = [Row(str(k), "p", "a", "r", float((k + seed) % 3 == 0), chance=0.25) for k in range(most)]
            dropped = {"sorting:too_long": 9 - most, "far:too_long": 2, "beyond_the_number": 7, "no_answer": 1}
            kept = {key: number for key, number in dropped.items() if number}
            name = f"{mix}:{seed}"
            inputs[f"run:{name}"] = scored(files / name.replace(":", "."), f"x:{name}", lines_of("sorting", rows), kept)
    (files / "out").mkdir()
    fields: dict[str, Any] = {"metric": "correct", "direction": "higher", "scores": "items.parquet", "on": "own"}
    Compare(baseline="raw", by_question=True, **fields).run(inputs, files / "out", 0)
    found = Comparison.read(files / "out")
    assert {domain.name: domain.documents for domain in found.on.domains} == {"sorting": 6}
    assert (found.chance, found.left_out, found.questions) == ({"sorting": 0.25}, 3, {"sorting": 9, "far": 2})
    assert not_asked(found) == [
        "Not asked of raw, too_long: 2 of far.",
        "Not asked of short, too_long: 3 of sorting; 2 of far.",
        "Not compared, as only some of the models were asked: 3.",
    ]
    console = Console(file=io.StringIO(), width=100, record=True)
    print_further("answers", files / "out", console)
    told = console.export_text()
    assert "exact answers on held-out rows (6 questions, share right): raw" in told
    assert "6 of 9" in told and "right by the most frequent answer alone: sorting 0.25" in told
    Manifest(step="compare:answers", version=1, key="0" * 32, config={}).write(files / "out" / MANIFEST)
    section = Measures.of(Results({}, {"compare:answers": Artifact(files / "out")}))
    assert section is not None and section.measures[0].by == "source"
    assert any(note.startswith("Chance is the share") for note in section.measures[0].notes)


def test_own_questions_are_compared_by_task(files: Path) -> None:
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
            lines = [line for name, found in rows.items() for line in lines_of(name, found)]
            name = f"tasks:{mix}:{seed}"
            inputs[f"run:{mix}:{seed}"] = scored(files / name.replace(":", "-"), name, lines, {})
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
