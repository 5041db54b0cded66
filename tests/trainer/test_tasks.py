"""Checkable tasks: the same items from the same documents in any order, right answers right, wrong ones wrong."""

from __future__ import annotations

import json
import random

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import find, make, names
from windtunnel.schemas.records import DOCUMENT
from windtunnel.trainer.eval.replies import Replier
from windtunnel.trainer.eval.task_scores import TaskScores
from windtunnel.trainer.modules.export import export
from windtunnel.trainer.tasks._evaluation import Evaluation
from windtunnel.trainer.tasks._task import Task, Text, sentences, tidy

KINDS = ("Mill", "Bridge", "Tower", "Harbour", "Market", "Garden")
TASKS = [name for name in names("task") if issubclass(find(Evaluation, name), Task)]


def documents(n: int = 60) -> list[Text]:
    """Articles about invented places; each can give an item of every task."""
    out = []
    for k in range(n):
        name = f"{KINDS[k % 6]} Number {k}"
        text = (
            f"{name} is a place of kind {k} near the {k}th river. It was built in {1500 + 7 * k} by some people of the "
            f'town, and the people of the town call it "the old thing {k}" to this day. Visitors come in summer.'
        )
        out.append(Text(f"d{k}", text))
    return out


@pytest.mark.parametrize("name", TASKS)
def test_items_depend_on_the_documents_and_the_seed_alone(name):
    task = make(Task, {name: {"items": 12}})
    items = task.make(documents())
    assert len(items) == 12 and len({item.id for item in items}) == 12
    shuffled = documents()
    random.Random(5).shuffle(shuffled)
    assert task.make(shuffled) == items
    assert make(Task, {name: {"items": 12, "seed": 1}}).make(documents()) != items
    assert make(Task, {name: {"items": 5}}).make(documents()) == items[:5]


@pytest.mark.parametrize("name", TASKS)
def test_the_right_answer_is_right_and_another_is_not(name):
    task = make(Task, {name: {"items": 20}})
    for item in task.make(documents()):
        assert task.score(item, item.answer) == 1.0
        assert task.score(item, "") == 0.0
        assert task.score(item, "7777777 I do not know") == 0.0
        if name != "counting":
            assert item.answer in item.prompt or name == "sorting"


def test_scores_forgive_form_and_nothing_else():
    by_name = {name: make(Task, name) for name in TASKS}
    items = {name: task.make(documents())[0] for name, task in by_name.items()}
    assert by_name["extraction"].score(items["extraction"], f"\n {items['extraction'].answer.upper()}.\nBecause") == 1
    assert by_name["copying"].score(items["copying"], items["copying"].answer.lower()) == 0
    assert by_name["counting"].score(items["counting"], f"It occurs {items['counting'].answer} times.") == 1
    assert by_name["sorting"].score(items["sorting"], items["sorting"].answer.replace(", ", " ")) == 1
    assert by_name["sorting"].score(items["sorting"], ", ".join(reversed(items["sorting"].answer.split(", ")))) == 0
    assert tidy(' "The Otter Mill". ') == "the otter mill"


def test_a_year_is_asked_for_only_where_it_is_the_only_one():
    task = make(Task, "extraction")
    one = "The mill was built in 1843 by two brothers. It cost 12.1843 pounds at the time of building."
    two = "The mill was built in 1843 by two brothers. It was burnt down in the winter of 1902 by nobody."
    found = task.item([Text("a", one)], random.Random(0))
    assert found is not None and found.answer == "1843"
    assert task.item([Text("b", two)], random.Random(0)) is None


def test_counting_asks_for_words_that_repeat_and_for_words_that_do_not():
    answers = [item.answer for item in make(Task, {"counting": {"items": 40}}).make(documents())]
    assert 5 < sum(answer != "1" for answer in answers) < 35


def test_sentences_are_cut_at_full_stops():
    assert sentences("It is so. He said no. it goes on", 1, 9) == ["It is so."]  # the rest has no end
    assert sentences("One two. Three four five.\nSix!", 2, 3) == ["One two.", "Three four five."]


@pytest.fixture
def inputs(tmp_path, tiny_llama, chat_tokenizer, as_artifact):
    with torch.no_grad():  # longer prompts than the little model has seen must not be all one reply
        tiny_llama.model.embed_tokens.weight.mul_(2)
    export(tiny_llama, chat_tokenizer, tmp_path / "run" / "model")
    (tmp_path / "documents" / "documents").mkdir(parents=True)
    rows = [{"id": d.id, "text": d.text, "source": "test", "lang": "en"} for d in documents(24)]
    rows += [{"id": "fr", "text": "La " + rows[0]["text"], "source": "test", "lang": "fr"}]
    rows += [{"id": "bad", "text": "<|im_end|> " + rows[0]["text"] * 3, "source": "test", "lang": "en"}]
    pq.write_table(pa.Table.from_pylist(rows, DOCUMENT), tmp_path / "documents" / "documents" / "00000.parquet")
    return {"run": as_artifact(tmp_path / "run"), "documents": as_artifact(tmp_path / "documents")}


def test_every_item_is_asked_and_kept(inputs, tmp_path):
    work = TaskScores(tasks=({"copying": {"items": 30}}, {"question_answering": {"items": 4}}), batch_tokens=600)
    out = tmp_path / "out"
    out.mkdir()
    counts = work.run(inputs, out, 0)
    items = pl.read_parquet(out / "items.parquet")
    assert counts.seen == 34 and counts.kept == len(items) and counts.dropped["copying:too_few_documents"] > 0
    assert "copying:fr" not in items["document"].to_list()
    summary = json.loads((out / "tasks.json").read_text())
    assert summary["copying"]["items"] == items.filter(pl.col("task") == "copying").height
    assert (items["nats"] > 0).all() and items["document"].is_unique().all()
    again = tmp_path / "again"
    again.mkdir()
    work.run(inputs, again, 0)
    assert (out / "items.parquet").read_bytes() == (again / "items.parquet").read_bytes()


@torch.no_grad()
def test_batched_replies_are_those_of_one_prompt_at_a_time(inputs):
    replier = Replier(inputs["run"].path / "model", 500)
    prompts = ["What is it?", "Say one two three four five six seven eight nine ten.", "Why?", "Sort the numbers 3 1 2"]
    answers = ["x", "one two three", "because", "1 2 3"]
    together = replier.replies(prompts, answers)
    for prompt, answer, reply in zip(prompts, answers, together, strict=True):
        ids = replier.encoder.prompt_ids([{"role": "user", "content": prompt}])
        new: list[int] = []
        while len(new) < len(replier.tokenizer.encode(answer, add_special_tokens=False)) + 8:
            token = int(replier.model(torch.tensor([ids + new])).logits[0, -1].argmax())
            if token == replier.encoder.end_id:
                break
            new.append(token)
        assert replier.encoder.decode(new) == reply
    assert len(set(together)) > 1


@torch.no_grad()
def test_the_end_of_a_turn_is_counted_or_not(inputs):
    replier = Replier(inputs["run"].path / "model", 300)
    prompts, answers = ["What is it?", "Why?", "What is it?"], ["one two three", "because", "1"]
    pairs = [replier.answer_nats(prompts, answers, ended=ended) for ended in (True, False)]
    for prompt, answer, whole, bare in zip(prompts, answers, *pairs, strict=True):
        before = replier.encoder.prompt_ids([{"role": "user", "content": prompt}])
        after = [*replier.tokenizer.encode(answer, add_special_tokens=False), replier.encoder.end_id]
        scores = replier.model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1].log_softmax(-1)
        nats = -scores.gather(1, torch.tensor(after)[:, None]).double().cumsum(0).flatten()
        assert (bare, whole) == (pytest.approx(float(nats[-2]), abs=1e-4), pytest.approx(float(nats[-1]), abs=1e-4))


def test_documents_without_items_are_an_error(inputs, tmp_path):
    with pytest.raises(InputError, match="no document from which task 'sorting' can make an item"):
        TaskScores(tasks=({"sorting": {"words": 40}},)).run(inputs, tmp_path, 0)


def test_a_prompt_that_the_models_positions_do_not_hold_is_counted_and_not_asked(
    inputs, tmp_path, chat_tokenizer, as_artifact
):
    """Learned positions end: past them GPT-2 has no embedding to look up."""
    sizes = {"vocab_size": 320, "n_embd": 32, "n_layer": 1, "n_head": 2}
    export(GPT2LMHeadModel(GPT2Config(**sizes, n_positions=220)), chat_tokenizer, tmp_path / "short" / "model")
    given = {**inputs, "run": as_artifact(tmp_path / "short")}
    (tmp_path / "out").mkdir()
    counts = TaskScores(tasks=({"copying": {"items": 24, "longest": 40}},)).run(given, tmp_path / "out", 0)
    assert counts.kept > 0 and counts.dropped["copying:too_long"] > 0
    told = json.loads((tmp_path / "out" / "tasks.json").read_text())["copying"]
    assert told["not_asked"] == sum(counts.dropped.values())
    far = {"repetition": {"items": 3, "lengths": [4, 400]}}
    counts = TaskScores(tasks=(far,)).run(given, tmp_path / "out", 0)
    assert counts.dropped == {"repetition/400 words:too_long": 3}
    told = json.loads((tmp_path / "out" / "tasks.json").read_text())
    assert told["repetition/400 words"] == {"items": 0, "not_asked": 3} and told["repetition/4 words"]["items"] == 3
    with pytest.raises(InputError, match="accepts none of the 24 questions of task 'question_answering': too_long 24"):
        TaskScores(tasks=("question_answering",)).run(given, tmp_path / "out", 0)
