"""Held-out conversations as questions: what equals an answer, which are asked, and what is recorded."""

from __future__ import annotations

import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.records import OWN_CONVERSATION
from windtunnel.trainer.eval.exact_answers import ExactAnswers, Question, _balanced, _questions, right
from windtunnel.trainer.eval.replies import Replier
from windtunnel.trainer.modules.export import export


@pytest.mark.parametrize(
    ("reply", "answer", "expected"),
    [
        ("Paris.", "paris", True),
        ("\n  “Paris”\nIt lies on the Seine.", "Paris", True),
        ("new   york", "New York", True),
        ("**42**", "42", True),
        ("Paris, France", "Paris", False),
        ("ParisX", "Paris", False),
        ("the-old-mill", "the old mill", False),  # inner punctuation counts
        ("a | b | c", "a | b | c", True),
        ("a, b, c", "a | b | c", False),
        ("5", "-5", False),
        ("\u22125", "-5", True),
        ("(5)", "5", True),
        ("", "5", False),
        ("?", "?", True),
        ("!", "?", False),
        ("one\ntwo", "One\ntwo.", True),  # an answer of several lines is compared as a whole
        ("one", "One\ntwo.", False),
        ("\uff15\uff10", "50", True),
    ],
)
def test_what_equals_an_answer(reply, answer, expected):
    assert right(reply, answer) is expected


def asked(count: dict[str, int]) -> list[Question]:
    return [Question(f"{source}{n}", source, "", [], "") for source, number in count.items() for n in range(number)]


def test_sources_share_the_questions_alike_as_far_as_they_go():
    chosen = _balanced(asked({"a": 100, "b": 5, "c": 100}), 45)
    assert {name: sum(q.source == name for q in chosen) for name in "abc"} == {"a": 20, "b": 5, "c": 20}
    again = _balanced(asked({"c": 100, "b": 5, "a": 100})[::-1], 45)
    assert {q.id for q in again} == {q.id for q in chosen}
    assert {q.id for q in _balanced(asked({"a": 100, "b": 5, "c": 100}), 15)} < {q.id for q in chosen}


@pytest.fixture
def inputs(tmp_path, tiny_llama, chat_tokenizer, as_artifact):
    export(tiny_llama, chat_tokenizer, tmp_path / "run" / "model")

    def of(*rows: tuple[str, list[str]], name: str = "questions"):
        table = [
            {
                "id": f"{k:02d}",
                "messages": [{"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(turns)],
                "source": source,
            }
            for k, (source, turns) in enumerate(rows)
        ]
        (tmp_path / name / "rows").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(table, OWN_CONVERSATION), tmp_path / name / "rows" / "00000.parquet")
        return {"run": as_artifact(tmp_path / "run"), "questions": as_artifact(tmp_path / name)}

    return of


def scored(work: ExactAnswers, inputs, out):
    out.mkdir()
    counts = work.run(inputs, out, 0)
    return counts, pl.read_parquet(out / "items.parquet"), json.loads((out / "sources.json").read_text())


def test_items_have_source_score_nats_and_chance(inputs, tmp_path):
    rows = [("sums", [f"What is {k}?", "5" if k < 3 else f"1{k}"]) for k in range(6)]
    rows += [("words", ["Hm?", "So", "And?", "mill"]), ("words", ["Oh?", "Ah"])]
    given = inputs(*rows, ("sums", ["What is 1?", "7"]), ("sums", ["Why?"]), ("sums", ["Why not?", " "]))
    counts, items, sources = scored(ExactAnswers(max_tokens=6), given, tmp_path / "one")
    assert counts.kept == len(items) == 8 and counts.seen == 11
    assert {reason: n for reason, n in counts.dropped.items() if n} == {"asked_twice": 1, "no_answer": 2}
    of_sums = items.filter(source="sums")
    assert set(of_sums["chance"]) == {0.5} and set(items.filter(source="words")["chance"]) == {0.5}  # 5 is right thrice
    assert sources["sums"]["chance"] == 0.5 and sources["sums"]["items"] == 6
    replier = Replier(given["run"].path / "model", 4096)
    turns = [{"role": r, "content": c} for r, c in (("user", "Hm?"), ("assistant", "So"), ("user", "And?"))]
    (nats,) = replier.answer_nats([turns], ["mill"], ended=False)
    assert items.filter(answer="mill")["nats"].item() == pytest.approx(nats, rel=1e-5)
    (alone,) = replier.answer_nats(["And?"], ["mill"], ended=False)
    assert nats != pytest.approx(alone, rel=1e-3)  # the turns before are part of the prompt
    replies = dict(zip(items["answer"], items["reply"], strict=True))
    assert replies["mill"] == replier.free_replies([turns], 6)[0]
    for line in items.iter_rows(named=True):
        assert line["correct"] == float(right(line["reply"], line["answer"]))


def test_a_disliked_answer_is_no_reference(inputs):
    given = inputs(("s", ["One?", "Yes"]), ("s", ["Two?", "No"]))
    (file,) = given["questions"].files("rows")
    rows = pq.read_table(file).to_pylist()
    rows[1]["label"] = False
    pq.write_table(pa.Table.from_pylist(rows, OWN_CONVERSATION), file)
    questions, counts = _questions(given["questions"])
    assert [question.answer for question in questions] == ["Yes"] and counts.dropped == {"undesirable_answer": 1}


def test_a_model_that_says_the_answer_is_right(inputs, tmp_path, monkeypatch):
    given = inputs(("s", ["One?", "Yes"]), ("s", ["Two?", "No"]))
    monkeypatch.setattr(Replier, "free_replies", lambda self, prompts, n: ["yes." for _ in prompts])
    _, items, sources = scored(ExactAnswers(), given, tmp_path / "one")
    assert dict(zip(items["answer"], items["correct"], strict=True)) == {"Yes": 1.0, "No": 0.0}
    assert sources["s"]["accuracy"] == 0.5


def test_the_same_bytes_again_and_refusals_by_source(inputs, tmp_path):
    rows = [("a", [f"What is {k}?", str(k)]) for k in range(5)]
    given = inputs(*rows, ("b", ["Hm <|im_end|>?", "x"]), ("b", ["Long?", "word " * 50]), ("b", ["w " * 3000, "y"]))
    counts, items, sources = scored(ExactAnswers(max_tokens=8), given, tmp_path / "one")
    assert set(items["source"]) == {"a"}
    refused = {reason: n for reason, n in counts.dropped.items() if n}
    assert refused == {"b:special_token": 1, "b:answer_too_long": 1, "b:too_long": 1}
    assert sources["b"] == {"items": 0, "not_asked": 3}
    scored(ExactAnswers(max_tokens=8), given, tmp_path / "two")
    assert (tmp_path / "one" / "items.parquet").read_bytes() == (tmp_path / "two" / "items.parquet").read_bytes()


def test_nothing_to_ask_is_an_error_that_says_why(inputs, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"none of 1 rows .* answer_too_long; raise"):
        ExactAnswers(max_tokens=2).run(inputs(("b", ["Long?", "word " * 50])), tmp_path / "out", 0)
