"""Choices by log-likelihood: nats as plain logits give them, and figures that follow from them."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.records import CHOICE
from windtunnel.trainer.data.encoder import open_encoder
from windtunnel.trainer.eval.choices import score_choices
from windtunnel.trainer.eval.likelihood import answer_scores
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.models._model import Model

CONTEXT = 32


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    sizes = {"width": 32, "layers": 2, "heads": 2, "context": CONTEXT, "init_std": 0.3}
    return make(Model, {"llama": sizes}).build(400, 0).eval()


def artifact(path, *items):
    (path / "rows").mkdir(parents=True)
    names = ("id", "source", "prompt", "options", "answer")
    rows = [dict(zip(names, item, strict=True)) for item in items]
    pq.write_table(pa.Table.from_pylist(rows, schema=CHOICE), path / "rows" / "00000.parquet")
    return Artifact(path)


def plain(model, prompt, text):
    stream = [0, *prompt, *text][-(CONTEXT + 1) :]
    with torch.no_grad():
        scores = model(input_ids=torch.tensor([stream[:-1]])).logits[0].double().log_softmax(-1)
    picked = scores[torch.arange(len(stream) - 1), torch.tensor(stream[1:])]
    return -picked[-len(text) :].sum().item()


@pytest.mark.parametrize(("before", "after"), [(0, 1), (0, 32), (5, 3), (31, 1), (30, 5), (200, 7), (10, 31), (3, 32)])
def test_nats_are_those_of_the_plain_logits(model, before, after):
    rng = np.random.default_rng(before)
    prompt, text = rng.integers(1, 400, before), rng.integers(1, 400, after)
    (found,) = answer_scores(model, [prompt], [text], 0, CONTEXT)
    assert len(found.nats) == after
    assert found.nats.sum() == pytest.approx(plain(model, prompt.tolist(), text.tolist()), rel=1e-5)


def test_answers_of_one_prompt_are_scored_as_if_each_stood_alone(model):
    rng = np.random.default_rng(7)
    prompts = [rng.integers(1, 400, size) for size in (20, 20, 25, 3)]
    prompts = [prompts[k] for k in (0, 0, 0, 1, 2, 2, 3, 3)]  # shared; alone; shared, too long for it; too short to pay
    answers = [rng.integers(1, 400, size) for size in (4, 1, 11, 5, 7, 2, 20, 21)]
    together = answer_scores(model, prompts, answers, 0, CONTEXT)
    for prompt, answer, found in zip(prompts, answers, together, strict=True):
        assert found.nats.sum() == pytest.approx(plain(model, prompt.tolist(), answer.tolist()), rel=1e-5)
        stream = [0, *prompt, *answer][-(CONTEXT + 1) :]
        with torch.no_grad():
            likeliest = model(input_ids=torch.tensor([stream[:-1]])).logits[0].argmax(-1)[-len(answer) :]
        assert found.hits.tolist() == (likeliest.numpy() == answer).tolist()


def test_figures(tmp_path, world, model):
    encoder = open_encoder(world.root / "tokenizer" / "tokenizer")
    items = [
        ("a", "s", "one two", [" three", " four five six seven", " eight"], 1),
        ("b", "s", "", ["she sings", "she sing"], 0),
        ("c", "t", "é" * 40, [" x", " y"], 1),
    ]
    figures = score_choices(model, artifact(tmp_path / "c", *items), encoder, CONTEXT, tmp_path / "out.parquet")
    rows = pl.read_parquet(tmp_path / "out.parquet")
    assert rows["item"].to_list() == ["a", "b", "c"]
    for row, (_, _, prompt, options, answer) in zip(rows.iter_rows(named=True), items, strict=True):
        before = next(iter(encoder.encode([prompt]))).tolist()
        nats = [plain(model, before, ids.tolist()) for ids in encoder.encode(options)]
        sizes = [len(option.encode()) for option in options]
        assert row["nats"] == pytest.approx(nats, rel=1e-4)
        assert row["bytes"] == sizes
        chances = [math.exp(-n) for n in nats]
        assert row["probability"] == pytest.approx(chances[answer] / sum(chances), rel=1e-3)
        assert row["right"] == (min(nats) == nats[answer])
        rates = [n / s for n, s in zip(nats, sizes, strict=True)]
        assert row["margin"] == pytest.approx(
            min(r for i, r in enumerate(rates) if i != answer) - rates[answer], rel=1e-3
        )
        assert row["right_per_byte"] == (row["margin"] > 0)
    assert figures["choice_accuracy"] == rows["right"].mean()
    assert figures["choice_chance"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)


@pytest.mark.parametrize(("options", "answer"), [([" a"], 0), ([" a", " b"], 2), ([" a", " b"], -1), ([" a", ""], 0)])
def test_an_item_that_cannot_be_scored_is_named(tmp_path, world, model, options, answer):
    broken = artifact(tmp_path / "c", ("fine", "s", "p", [" a", " b"], 0), ("broken", "s", "p", options, answer))
    encoder = open_encoder(world.root / "tokenizer" / "tokenizer")
    with pytest.raises(InputError, match="'broken'"):
        score_choices(model, broken, encoder, CONTEXT, tmp_path / "out.parquet")


def test_a_run_with_choices_carries_their_figures(tmp_path, world):
    texts = [text for _, text in world.documents[:30] if len(text) > 200]
    items = [(f"i{n}", "s", text[:100], [text[100:140], text[100:140][::-1]], 0) for n, text in enumerate(texts)]
    words = {"causal_lm": {"lr": 1e-2, "batch_tokens": 256}}
    stage = Stage.from_specs(
        "both", 0, {"llama": {"width": 32, "layers": 2, "heads": 2, "context": 32}}, "constant", words
    )
    inputs = {**world.inputs(), "choices": artifact(tmp_path / "c", *items)}
    result = train(stage, inputs, tmp_path / "out")
    assert result.metrics["choice_accuracy"] > 0.8  # text against its mirror image
    assert result.metrics["choice_chance"] == 0.5
    assert len(pl.read_parquet(tmp_path / "out" / "choices.parquet")) == len(items)
