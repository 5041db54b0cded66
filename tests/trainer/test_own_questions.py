"""Questions of a user's own files: how they are scored, what is refused, and what runs and recipes make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.plugin import built_in, find, make
from windtunnel.trainer.constraints._constraint import Constraint
from windtunnel.trainer.eval.task_scores import TaskScores, digests_of
from windtunnel.trainer.tasks._evaluation import Evaluation, Measured
from windtunnel.trainer.tasks._own_files import own_task, questions
from windtunnel.trainer.tasks.constraints import kept
from windtunnel.trainer.tasks.exact import normalised


class Scripted:
    """An asker whose replies and nats are given by prompt and answer."""

    def __init__(self, replies: dict[str, str] | None = None, nats: dict[str, float] | None = None, chat: bool = True):
        self.said, self.nats, self.chat = replies or {}, nats or {}, chat
        self.prompts: list[str] = []

    def refusal(self, prompt: str, tokens: int, answer: str = "") -> str | None:
        return "special_token" if "<|" in prompt + answer else None

    def room(self, answers: Any) -> int:
        return 8

    def free_replies(self, prompts: Any, max_tokens: int) -> list[str]:
        self.prompts += prompts
        return [self.said.get(prompt, "") for prompt in prompts]

    def replies(self, prompts: Any, answers: Any) -> list[str]:
        return self.free_replies(prompts, 0)

    def answer_nats(self, prompts: Any, answers: Any, ended: bool = True) -> np.ndarray:
        assert not ended  # the end of a turn would decide among choices
        self.prompts += prompts
        return np.array([self.nats.get(answer, 9.0) for answer in answers])

    def pieces(self, contexts: Any, texts: Any) -> list[Any]:
        raise NotImplementedError

    def harness_model(self) -> Any:
        raise NotImplementedError


def measured(tmp_path: Path, rows: list[dict[str, Any]], asker: Scripted, **parameters: Any) -> Measured:
    file = tmp_path / "quiz.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    kind = type(own_task(file))
    return kind(file=str(file), **parameters).measure(lambda: (), asker)


CHOICE = {"question": "Which is a fruit?", "choices": ["a stone", "a plum from the old tree"], "answer": 1, "id": "f"}


def test_the_likeliest_choice_is_the_answer_by_likelihood_and_by_likelihood_per_byte(tmp_path: Path) -> None:
    asker = Scripted(nats={"a stone": 4.0, "a plum from the old tree": 6.0})
    (row,) = measured(tmp_path, [CHOICE], asker).rows
    assert row.metrics["acc"] == 0 and row.metrics["acc_norm"] == row.correct == 1
    assert row.metrics["probability"] == pytest.approx(np.exp(-2) / (1 + np.exp(-2)))
    assert (row.nats, row.bytes, row.reply) == (6.0, 24, "a plum from the old tree")
    assert asker.prompts == ["Which is a fruit?"] * 2
    plain = Scripted(nats={"A": 2.0, "B": 1.0}, chat=False)
    (row,) = measured(tmp_path, [CHOICE], plain, form="letters").rows
    assert row.correct == row.metrics["acc"] == 1 and (row.answer, row.reply) == ("B", "B")
    assert plain.prompts[0] == "Question: Which is a fruit?\nA. a stone\nB. a plum from the old tree\nAnswer:"


@pytest.mark.parametrize(("answer", "place"), [(0, 0), (1.0, 1), ("B", 1), ("b", 1), ("a stone", 0)])
def test_an_answer_is_a_place_a_letter_or_a_text(answer: Any, place: int, tmp_path: Path) -> None:
    (row,) = measured(tmp_path, [CHOICE | {"answer": answer}], Scripted()).rows
    assert row.answer == CHOICE["choices"][place]


def test_exact_answers_are_compared_as_squad_compares_them(tmp_path: Path) -> None:
    rows = [{"question": f"q{k}", "answer": "The Old Mill", "aliases": ["a watermill"], "group": "g"} for k in range(5)]
    replies = dict(zip(["q0", "q1", "q2", "q3", "q4"], [
        "old mill!", "\n It is the old mill.\nYes", "Watermill", "the old mills", "",
    ], strict=True))  # fmt: skip
    found = measured(tmp_path, rows, Scripted(replies)).rows
    assert [row.correct for row in found] == [1, 0, 1, 0, 0]
    assert [row.metrics["contains"] for row in found] == [1, 1, 1, 0, 0]
    assert {row.group for row in found} == {"g"}
    extracted = measured(tmp_path, rows, Scripted({"q0": "a: x\nb: old mill"}), extract=r"[ab]: (.*)").rows
    assert [row.correct for row in extracted] == [1, 0, 0, 0, 0]


def test_numbers_keep_their_signs() -> None:
    assert normalised("3.5") != normalised("35") and normalised("-1") != normalised("1")
    assert (
        normalised("\u22121") == normalised("-1") and normalised("Co-op.") == "coop" and normalised("1,000") == "1,000"
    )
    assert normalised("\ue0009999999999\ue001 x") and normalised("An apple, the end") == "apple end"


@pytest.mark.parametrize("name", ["choices", "exact", "constraints"])
def test_a_file_that_cannot_be_used_whole_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    gives = find(Evaluation, name).gives
    file = tmp_path / "own.jsonl"
    no_json = (b"{", b'{"question": "\xff"}', b'{"question": "\\ud800"}', b'{"a\x1b[31m": NaN}')
    for line, what in ((b'"text"', "is not an object"), *((line, "is not JSON") for line in no_json)):
        file.write_bytes(gives.encode() + line + b"\n")
        with pytest.raises(InputError, match=rf"own\.jsonl, line {gives.count(chr(10)) + 1} {what}"):
            make(Evaluation, {name: {"file": str(file)}}).questions()
    file.write_text("\n\n")
    with pytest.raises(InputError, match="has no questions"):
        own_task(file)
    file.write_text('{"id": "../../x\\u001b[31m", ' + gives[1:].split("\n")[0] + "\n")
    ((key, text),) = questions(file)
    assert key == "../../x\x1b[31m" and text  # names nothing, and is escaped where it is printed
    file.write_text(file.read_text() * 2)
    with pytest.raises(InputError, match=r"lines 1 and 2 have the id '../../x<U\+001B>\[31m'"):
        questions(file)


def test_constraints_are_strict_and_loose(tmp_path: Path) -> None:
    specs = ["no_comma", {"bullets": {"least": 1, "most": 1}}, {"words": {"most": 4}}]
    reply = "Sure, here it is:\n* one mill"
    (row,) = measured(tmp_path, [{"prompt": "p", "constraints": specs}], Scripted({"p": reply})).rows
    assert row.metrics == pytest.approx(
        {"prompt_strict": 0.0, "prompt_loose": 1.0, "instruction_strict": 1 / 3, "instruction_loose": 1.0}
    )
    assert row.correct == 0 and row.nats is None
    blank = kept([make(Constraint, "no_comma")], " \n")
    assert blank.strict == [False] and blank.loose == [False]


def test_a_row_names_no_file_and_a_recipe_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "from windtunnel.trainer.constraints._constraint import Constraint, Example\n"
        "class Short(Constraint):\n    examples = (Example({}, 'a', 'long'),)\n"
        "    def holds(self, reply):\n        return len(reply) < 3\n"
    )
    row = {"prompt": "p", "constraints": ["short"]}
    with pytest.raises(InputError, match="no constraint is called 'short'"):
        measured(tmp_path, [row], Scripted({"p": "ab"}))
    (found,) = measured(tmp_path, [row], Scripted({"p": "ab"}), own=["./own.py:Short"]).rows
    assert found.correct == 1
    with pytest.raises(InputError, match=r"no constraint is called './own\.py:Short'"):
        measured(tmp_path, [row | {"constraints": ["./own.py:Short"]}], Scripted(), own=["./own.py:Short"])


def test_there_are_as_many_constraints_as_ifeval_has_kinds() -> None:
    assert len(built_in("constraint")) >= 20


def test_questions_that_the_model_cannot_be_asked_are_counted(tmp_path: Path) -> None:
    rows = [{"question": f"{special}q{k}", "answer": "x"} for k, special in enumerate(("", "<|end|>", ""))]
    found = measured(tmp_path, rows, Scripted())
    assert len(found.rows) == 2 and found.dropped == {"special_token": 1}
    with pytest.raises(InputError, match="accepts none of the 1 questions of task 'quiz': special_token 1"):
        measured(tmp_path, rows[1:2], Scripted())


def test_questions_that_are_too_long_with_examples_are_counted_by_their_number(tmp_path: Path) -> None:
    class Short(Scripted):
        def refusal(self, prompt: str, tokens: int, answer: str = "") -> str | None:
            return "too_long" if prompt.count("Answer:") > 1 else None

    rows = [{"question": f"Which is {k}?", "choices": ["a", "b"], "answer": 0} for k in range(4)]
    found = measured(tmp_path, rows, Short(chat=False), shots=[0, 2])
    assert {row.part for row in found.rows} == {"0 shots"} and found.dropped == {"2 shots:too_long": 4}


def test_the_step_reads_the_files_it_was_planned_with(tmp_path: Path, eos_tokenizer, tiny_llama, as_artifact) -> None:
    from windtunnel.trainer.modules.export import export

    export(tiny_llama, eos_tokenizer, tmp_path / "run" / "model")
    file = tmp_path / "quiz.jsonl"
    file.write_text(json.dumps(CHOICE))
    work = TaskScores(tasks=({"choices": {"file": str(file), "name": "fruit"}},))
    work = work.model_copy(update={"digests": digests_of(work.plugins())})
    (tmp_path / "out").mkdir()
    counts = work.run({"run": as_artifact(tmp_path / "run")}, tmp_path / "out", 0)
    items = pl.read_parquet(tmp_path / "out" / "items.parquet")
    assert counts.kept == 1 and items["document"].to_list() == ["fruit:f"] and items["nats"][0] > 0
    moved = tmp_path / "elsewhere" / "quiz.jsonl"
    moved.parent.mkdir()
    moved.write_text(file.read_text())
    same = TaskScores(tasks=({"choices": {"file": str(moved), "name": "fruit"}},), digests=work.digests)
    assert same.identity() == work.identity()  # the content is in the key, not the place
    file.write_text(json.dumps(CHOICE | {"answer": 0}))
    assert digests_of(work.plugins()) != work.digests
    with pytest.raises(InputError, match="has changed since the run was planned"):
        work.run({"run": as_artifact(tmp_path / "run")}, tmp_path / "out", 0)


def test_a_task_file_of_lm_eval_without_the_package_names_the_extra(tmp_path: Path, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "windtunnel.trainer.tasks._harness", raising=False)
    file = tmp_path / "mills.yaml"
    file.write_text(find(Evaluation, "lm_eval").gives)
    with pytest.raises(InputError, match=r"pip install 'windtunnel\[lm-eval\]'"):
        own_task(file).questions()


def test_the_files_of_a_task_of_lm_eval_are_in_the_key(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(find(Evaluation, "lm_eval").gives.replace("task: mills\n", "tag: x\n"))
    (tmp_path / "mills.yaml").write_text("include: base.yaml\ntask: mills\nprocess_docs: !function tools.clean\n")
    task = own_task(tmp_path / "mills.yaml")
    assert [file.name for file in task.files()] == ["mills.yaml", "base.yaml", "tools.py", "mills.jsonl"]
    (tmp_path / "base.yaml").write_text("include: mills.yaml\n")
    with pytest.raises(InputError, match="includes itself"):
        task.files()
    (tmp_path / "evil.yaml").write_text("task: !!python/object/apply:os.system ['true']\n")
    with pytest.raises((InputError, RecipeError), match="is not YAML"):
        own_task(tmp_path / "evil.yaml").files()
