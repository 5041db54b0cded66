"""Tasks by likelihood: figures by hand, draws that are the same for every model, and models that know nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from windtunnel.pipelines.api.task_scoring import evaluate_tasks, scores_of, task_of
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.eval.plain_replies import PlainReplier
from windtunnel.trainer.eval.task_scores import lines_of, summary, table_of
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.modules.export import export
from windtunnel.trainer.stats.item_scores import means
from windtunnel.trainer.tasks._choice_scores import choice_scores
from windtunnel.trainer.tasks._evaluation import Evaluation, Pieces
from windtunnel.trainer.tasks._own_files import own_task

MADE = ("agreement", "in_context", "key_value", "repetition")


@pytest.fixture
def folder(tmp_path: Path, eos_tokenizer: Any) -> Path:
    """Return the directory of a model that has learnt nothing."""
    torch.manual_seed(0)
    path = tmp_path / "random"
    sizes = {"width": 32, "layers": 2, "heads": 2, "context": 512}
    export(make(Model, {"llama": sizes}).build(320, eos_tokenizer.eos_token_id), eos_tokenizer, path / "model")
    return path / "model"


@pytest.fixture
def asker(folder: Path) -> PlainReplier:
    return PlainReplier(folder, 2048)


def test_scores_of_a_choice_by_hand() -> None:
    found = choice_scores(np.array([2.0, 3.0]), np.array([2, 6]), 1)
    assert (found["acc"], found["acc_norm"]) == (0, 1)
    assert found["probability"] == pytest.approx(math.exp(-3) / (math.exp(-2) + math.exp(-3)))
    assert found["probability_norm"] == pytest.approx(math.exp(-0.5) / (math.exp(-0.5) + math.exp(-1)))


@pytest.mark.parametrize("name", MADE)
def test_a_model_that_knows_nothing_is_at_chance(name: str, asker: PlainReplier) -> None:
    found = make(Evaluation, {name: {"items": 60}}).measure(lambda: (), asker)
    assert not found.dropped
    table = scores_of(pl.DataFrame(table_of(lines_of(name, found.rows))))
    for mean in means(table, 0.9999):
        if mean.metric == "acc" and name != "agreement":  # whose texts may differ in length
            assert mean.low is not None and mean.low <= mean.chance <= mean.high, mean
        if mean.metric == "exact" and name == "repetition":
            assert mean.value < mean.chance == pytest.approx(1 / int(mean.task.split("/")[1].split()[0]))


class Copier:
    """Finds every piece likely that stands in its context."""

    chat = False

    def pieces(self, contexts: Any, texts: Any) -> list[Pieces]:
        out = []
        for context, text in zip(contexts, texts, strict=True):
            seen = np.array([int(piece in context) for piece in text])
            out.append(Pieces(5.0 - 4 * seen, np.full(len(text), 2), 2 * seen))
        return out


def test_a_model_that_copies_repeats_all_and_chooses_none() -> None:
    asker: Any = Copier()
    rows = make(Evaluation, {"repetition": {"items": 5}}).measure(lambda: (), asker).rows
    assert {row.correct for row in rows} == {1.0} and rows[0].nats == 3 and rows[0].tokens == 6
    rows = make(Evaluation, {"key_value": {"items": 5, "pairs": [4], "gaps": [3]}}).measure(lambda: (), asker).rows
    assert {row.metrics["probability"] for row in rows} == {0.25} and rows[0].part == "4 pairs, 3 words between"
    rows = make(Evaluation, {"in_context": {"items": 9, "patterns": ["lookup"]}}).measure(lambda: (), asker).rows
    assert {row.metrics["probability"] for row in rows if row.part == "lookup, 0 shots"} == {0.5}


def test_more_examples_are_those_of_fewer_and_the_line_asked_is_the_same() -> None:
    task: Any = make(Evaluation, {"in_context": {"items": 3, "shots": [1, 4]}})
    by_part = {(item.part, item.id): item for item in task.make()}
    for pattern in ("first", "last", "kind"):
        for number in range(3):
            one, four = (by_part[f"{pattern}, {k} shots", f"{pattern}{number}"] for k in (1, 4))
            assert one.texts == four.texts
            lines = "".join(four.context).split(".")
            assert "".join(one.context).split(".") == [lines[0], lines[-1]]


def test_the_draws_of_a_file_depend_on_seed_and_question_alone(tmp_path: Path, asker: PlainReplier) -> None:
    rows = [{"question": f"q{k}", "choices": ["a", "b"], "answer": k % 2, "id": k, "group": k // 2} for k in range(20)]
    file = tmp_path / "quiz.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = {"file": str(file), "shots": [0, 1, 4]}
    found = make(Evaluation, {"choices": spec}).measure(lambda: (), asker).rows
    assert len(found) == 60 and {row.part for row in found} == {"0 shots", "1 shots", "4 shots"}
    four = next(row.prompt for row in found if row.part == "4 shots" and row.id == "6")
    assert four.endswith("\n\nQuestion: q6\nAnswer:") and four.count("Answer: ") == 4 and "q7\n" not in four
    one = next(row.prompt for row in found if row.part == "1 shots" and row.id == "6")
    assert four.startswith(one.split("\n\n")[0])
    file.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    again = make(Evaluation, {"choices": spec}).measure(lambda: (), asker).rows
    assert {(r.id, r.part): r.prompt for r in again} == {(r.id, r.part): r.prompt for r in found}
    other = make(Evaluation, {"choices": spec | {"seed": 1}}).measure(lambda: (), asker).rows
    assert {(r.id, r.part): r.prompt for r in other} != {(r.id, r.part): r.prompt for r in found}
    with pytest.raises(InputError, match="19 examples are asked for, and there are 18 questions beside '19'"):
        make(Evaluation, {"choices": spec | {"shots": [19]}}).measure(lambda: (), asker)


def test_runs_can_be_compared_by_probability(tmp_path: Path, asker: PlainReplier) -> None:
    file = tmp_path / "quiz.jsonl"
    file.write_text('{"question": "Which?", "choices": ["a", "b c d"], "answer": 1}\n')
    (row,) = make(Evaluation, {"choices": {"file": str(file), "score": "probability"}}).measure(lambda: (), asker).rows
    assert row.correct == row.metrics["probability"] and row.chance == 0.5


def test_perplexity_by_source_is_that_of_the_logits(tmp_path: Path, folder: Path) -> None:
    texts = [("one two three", "a"), ("four " * 300, "b"), ("five six", "a")]
    (tmp_path / "texts").mkdir()
    frame = pl.DataFrame({"text": [t for t, _ in texts], "source": [s for _, s in texts]})
    frame[:2].write_parquet(tmp_path / "texts" / "x.parquet")
    (tmp_path / "texts" / "y.jsonl").write_text(json.dumps(frame.row(2, named=True)))
    found = evaluate_tasks(folder, f"perplexity:{tmp_path / 'texts'}")
    asker = PlainReplier(folder, 64)
    nats, sizes = {"a": 0.0, "b": 0.0}, {"a": 0, "b": 0}
    for text, source in texts:
        (ids,) = asker.scorer.ids([text])
        stream = torch.tensor([asker.scorer.start, *ids.tolist()])
        for start in range(0, len(ids), 512):
            part = stream[start : start + 513]
            with torch.no_grad():
                logps = asker.model(input_ids=part[None, :-1]).logits[0].double().log_softmax(-1)
            nats[source] -= logps.gather(1, part[1:, None]).sum().item()
        sizes[source] += len(ids)
    by = {(mean.task, mean.metric): mean.value for mean in means(found.scores)}
    for source in "ab":
        where = f"texts/{source}"
        size = sum(len(text.encode()) for text, s in texts if s == source)
        assert by[where, "answer_bits_per_byte"] == pytest.approx(nats[source] / math.log(2) / size, rel=1e-5)
        assert by[where, "token_perplexity"] == pytest.approx(math.exp(nats[source] / sizes[source]), rel=1e-5)
    assert found.items["chance"].null_count() == 3


def test_contexts_that_do_not_fit_are_counted(asker: PlainReplier) -> None:
    found = make(Evaluation, {"repetition": {"items": 3, "lengths": [4, 400]}}).measure(lambda: (), asker)
    assert len(found.rows) == 3 and found.dropped == {"400 words:too_long": 3}
    with pytest.raises(InputError, match="accepts none of the 3 questions of 'repetition'"):
        make(Evaluation, {"repetition": {"items": 3, "lengths": [400]}}).measure(lambda: (), asker)


def test_pairs_of_a_file_by_part_and_their_chance(tmp_path: Path, asker: PlainReplier) -> None:
    file = tmp_path / "pairs.jsonl"
    rows = [{"good": "one two", "bad": "two one", "part": "order"}, {"good": "three", "bad": "eight three"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = own_task(file).measure(lambda: (), asker).rows
    nats = [float(p.nats.sum()) for p in asker.pieces([()] * 2, [("one two",), ("two one",)])]
    assert found[0].correct == (nats[0] < nats[1]) and found[0].nats == pytest.approx(nats[0])
    figures = summary(lines_of("pairs", found))
    assert set(figures) == {"pairs", "pairs/order"} and figures["pairs"]["chance"] == 0.5
    assert type(task_of(f"minimal_pairs:{file}")) is type(own_task(file))
