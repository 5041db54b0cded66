"""A model on tasks without a recipe: files, names and specs; the same scores as effects of two models."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
import pytest
import torch

import windtunnel as wt
from windtunnel.pipelines.cli import main
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.modules.export import export


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with one file of questions of each kind."""
    choices = [{"question": f"Is {k} even?", "choices": ["yes", "no, it is odd"], "answer": k % 2} for k in range(12)]
    exact = [{"question": f"What follows {k}?", "answer": k + 1, "group": f"g{k // 2}"} for k in range(8)]
    prompts = [{"prompt": f"Name {k}.", "constraints": ["no_comma", {"words": {"least": 1}}]} for k in range(6)]
    for name, rows in (("even", choices), ("next", exact), ("rules", prompts)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [{"text": f"The mill number {k} stands beside a narrow river. It was built long ago."} for k in range(30)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small_model(folder: Path, tokenizer, seed: int) -> Path:
    torch.manual_seed(seed)
    sizes = {"width": 32, "layers": 1, "heads": 2, "context": 256, "init_std": 0.4}
    export(make(Model, {"llama": sizes}).build(320, tokenizer.eos_token_id), tokenizer, folder)
    return folder


def run(capsys, *words: str) -> tuple[int, str]:
    sys.argv = ["windtunnel", *words]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.mark.parametrize("chat", [False, True])
def test_every_metric_of_every_task_is_printed_with_its_interval(
    chat: bool, files: Path, chat_tokenizer, eos_tokenizer, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    small_model(files / "model", chat_tokenizer if chat else eos_tokenizer, 0)
    words = ["evaluate", "model", "--tasks", "even.jsonl", "--tasks", "{exact: {file: next.jsonl, max_tokens: 4}}"]
    words += ["--tasks", "{constraints: {file: rules.jsonl, max_tokens: 12}}"]
    words += ["--tasks", "{copying: {items: 5}}", "--texts", "texts.jsonl"]
    code, said = run(capsys, *words, "--json", "--out", "out")
    assert code == 0, said
    told = json.loads(said)
    means = {(row["task"], row["metric"]): row for row in told["means"]}
    assert [row["task"] for row in told["means"]] == sorted(
        [r["task"] for r in told["means"]], key=["even", "next", "rules", "copying"].index
    )
    assert set(means) == {
        *(("even", name) for name in ("acc", "acc_norm", "probability", "probability_norm", "answer_bits_per_byte")),
        *(("next", name) for name in ("exact_match", "contains", "answer_bits_per_byte")),
        *(("rules", f"{a}_{b}") for a in ("prompt", "instruction") for b in ("strict", "loose")),
        ("copying", "accuracy"), ("copying", "answer_bits_per_byte"),
    }  # fmt: skip
    assert all(row["low"] <= row["value"] <= row["high"] for row in means.values())
    assert means["next", "contains"]["groups"] == 4 and means["even", "acc"]["items"] == 12
    items = pl.read_parquet(files / "out" / "items.parquet")
    assert items.height == 12 + 8 + 6 + 5 and items["document"].is_unique().all()
    right = items.filter(pl.col("task") == "even")["correct"].mean()
    assert right == pytest.approx(means["even", "acc_norm"]["value"])
    code, said = run(capsys, *words[:4])
    assert code == 0 and "acc_norm" in said and "95% interval" in said
    assert run(capsys, *words[:4], "--out", "out")[0] == InputError.exit_code


def test_what_cannot_be_evaluated_is_refused_in_words(files: Path, eos_tokenizer, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", [])
    small_model(files / "model", eos_tokenizer, 0)
    (files / "bad.jsonl").write_text((files / "even.jsonl").read_text() + '{"question": "x", "choices": ["a", "b"]')
    (files / "odd.jsonl").write_text('{"words": "x\\u001b[31m"}\n')
    for tasks, code, message in (
        (["evne.jsonl"], RecipeError.exit_code, "is neither a file nor a task"),
        (["copyng"], RecipeError.exit_code, "did you mean 'copying'"),
        (["copying"], RecipeError.exit_code, "is made from texts: give some"),
        (["even.jsonl", "even.jsonl"], RecipeError.exit_code, "two tasks are called 'even'"),
        (["bad.jsonl"], InputError.exit_code, "bad.jsonl, line 13 is not JSON"),
        (["odd.jsonl"], InputError.exit_code, "odd.jsonl is no evaluation file"),
        (["{exact: {file: next.jsonl, extract: '('}}"], RecipeError.exit_code, "is not a regular expression"),
    ):
        found, said = run(capsys, "evaluate", "model", *(w for task in tasks for w in ("--tasks", task)))
        assert found == code and message in said, said
        assert "\x1b" not in said
    code, said = run(capsys, "evaluate", "nowhere", "--tasks", "even.jsonl")
    assert code == InputError.exit_code and "nowhere" in said


def test_scores_of_several_models_are_effects(files: Path, eos_tokenizer) -> None:
    frames = []
    for seed in range(4):
        found = wt.evaluate_tasks(small_model(files / f"m{seed}", eos_tokenizer, seed), ["even.jsonl"], device="cpu")
        frames.append(found.scores.with_columns(mix=pl.lit("ab"[seed % 2]), seed=pl.lit(seed // 2)))
    effects = wt.compare_items(pl.concat(frames), "a")
    assert [e.metric for e in effects] == [
        f"even/{n}" for n in ("acc", "acc_norm", "probability", "probability_norm", "answer_bits_per_byte")
    ]
    assert all(e.mix == "b" and e.seeds == 2 and e.documents == 12 for e in effects)
    assert [e.metric for e in wt.compare_items(pl.concat(frames), "a", metrics=["acc"])] == ["even/acc"]


def test_effects_of_logs_on_the_command_line(files: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", [])
    for seed in range(3):
        for mix in ("a", "b"):
            scores = {"item": list("uvwxyz"), "acc": [float((k * 7 + seed * 3 + (mix == "b")) % 2) for k in range(6)]}
            pl.DataFrame(scores).write_csv(files / f"{mix}-seed{seed}-quiz.csv")
    words = ["effects", *(str(file) for file in sorted(files.glob("*-quiz.csv"))), "--baseline", "a", "--from", "items"]
    pattern = ["--runs", "{mix}-seed{seed}-quiz"]
    code, said = run(capsys, *words, *pattern)
    assert code == 0 and "items/acc" in said
    for file in files.glob("*-quiz.csv"):
        pl.read_csv(file).with_columns(task=pl.lit("quiz")).write_csv(file)
    code, said = run(capsys, *words, *pattern, "--json")
    (row,) = json.loads(said)
    assert code == 0 and row["metric"] == "quiz/acc" and set(row) >= {"mix", "effect", "low", "high", "verdict"}
    code, said = run(capsys, *words, *pattern)
    assert code == 0 and "\u2191 quiz/acc" in said and "effect = mix minus a" in said
    assert run(capsys, *words[:-2])[0] == RecipeError.exit_code
