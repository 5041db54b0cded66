"""Answers with a label, liked or disliked, in plans: each set is checked as the stages that read it take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.pipelines.conftest import write_byte_tokenizer
from windtunnel.pipelines.plan.builder import planned
from windtunnel.pipelines.plan.template_check import template_notes
from windtunnel.schemas.errors import RecipeError

RECIPE = """
question: q?
store: store
rows: {{ours: {{source: {{jsonl: ours.jsonl}}}}, down: {{source: {{jsonl: down.jsonl}}}}}}
models: {{student: {{path: student}}}}
held_out: {{from: [ours], share: 0.5}}
mixes: {{all: {mix}}}
train: {{start: student, seeds: [0], stages: [{stages}]}}
compare: {{baseline: all, margin: 0.01}}
"""
BOTH = "{ours: 1, down: 1}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rows without labels, disliked answers in a file of their own, and a student whose weights nobody needs."""
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"What is {n} and {n}?", "completion": f"It is {2 * n}."} for n in range(300)]
    (tmp_path / "ours.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:9]))
    disliked(tmp_path, rows[:9])
    write_byte_tokenizer(tmp_path / "student")
    (tmp_path / "student" / "config.json").write_text("{}")
    save_file({"a": np.ones(1, np.float32)}, tmp_path / "student" / "model.safetensors")
    return tmp_path


def disliked(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "down.jsonl").write_text("".join(json.dumps({**row, "label": False}) + "\n" for row in rows))


def told(folder: Path, mix: str, stages: str) -> str:
    (folder / "own.yaml").write_text(RECIPE.format(mix=mix, stages=stages))
    return " ".join(note for note in template_notes(planned("own.yaml", [])) if "of the first" in note)


@pytest.mark.parametrize(
    ("mix", "stages", "refused"),
    [
        ("{down: 1}", "kto_unpaired", ""),
        (
            "{down: 1}",
            "sft",
            "no row can be learnt.*9 cannot be learnt by sft: undesirable_answer",
        ),
        ("{ours: 1}", "sft, kto_unpaired", "can learn from no row of the mix 'all'.*no_label 9"),
        (BOTH, "{sft: {sets: [ours]}}, {kto_unpaired: {sets: [down]}}", ""),
        (BOTH, "{sft: {sets: [ours]}}", ""),
        (BOTH, "sft, kto_unpaired", ""),
        ("{down: 1}", "grpo", "9 cannot be learnt by grpo: undesirable_answer"),
        ("{down: 1}", "{grpo: {reward: {length: {words: 9}}}}", ""),
    ],
)
def test_a_set_is_checked_as_the_stages_that_read_it_take_it(mix, stages, refused, folder):
    if refused:
        with pytest.raises(RecipeError, match=refused):
            told(folder, mix, stages)
    else:
        assert told(folder, mix, stages) == ""


def test_the_first_rows_of_a_sorted_file_do_not_say_that_all_are_disliked(folder):
    rows = [{"prompt": f"What is {n} and {n}?", "completion": f"It is {2 * n}."} for n in range(300)]
    disliked(folder, rows)
    assert "of the first 256 rows of down, 256 cannot be learnt by sft: undesirable" in told(folder, "{down: 1}", "sft")


def test_one_label_alone_is_told(folder):
    (folder / "own.yaml").write_text(RECIPE.format(mix="{down: 1}", stages="kto_unpaired"))
    notes = " ".join(template_notes(planned("own.yaml", [])))
    assert "kto_unpaired finds the label false alone in the mix all" in notes and "without `label: true`" in notes
    with (folder / "down.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": "What is 1?", "completion": "It is 1.", "label": True}) + "\n")
    assert "alone" not in " ".join(template_notes(planned("own.yaml", [])))
