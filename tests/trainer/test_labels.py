"""Labels by heads, prompts and text-to-text: what transformers computes, bit for bit again, on one scale."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch

from windtunnel.schemas.errors import InputError
from windtunnel.trainer.data.labelled import LabelEncoder, Labels, labelled_batches
from windtunnel.trainer.eval.label_scores import LabelScores
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.models.bert import Bert
from windtunnel.trainer.models.llama import Llama
from windtunnel.trainer.models.t5 import T5
from windtunnel.trainer.objectives._objective import Setting
from windtunnel.trainer.objectives.classifier import Classifier
from windtunnel.trainer.objectives.prompted import Prompted
from windtunnel.trainer.objectives.text_to_text import TextToText

SIZE = {"width": 32, "layers": 2, "heads": 2, "ff": 64, "context": 64}
MODELS = {
    "causal": {"llama": {**SIZE, "init_std": 0.2}},
    "masked": {"bert": {**SIZE, "init_std": 0.2}},
    "seq2seq": {"t5": SIZE},
}
LLAMA, BERT = Llama(**MODELS["causal"]["llama"]), Bert(**MODELS["masked"]["bert"])
WORDS = {"big": "1", "small": "2", "yes": "3", "no": "4"}
CLASSIFIER = {"classifier": {"lr": 3e-3, "batch_tokens": 24, "epochs": 3}}
SPECS = {
    "gpt head": ("causal", CLASSIFIER),
    "bert head": ("masked", CLASSIFIER),
    "text to text": ("seq2seq", {"text_to_text": {"lr": 3e-3, "batch_tokens": 24, "epochs": 3}}),
    "words": ("masked", {"prompted": {"lr": 3e-3, "batch_tokens": 24, "epochs": 3, "words": WORDS}}),
    "embeddings": (
        "causal",
        {"prompted": {"verbalizer": "soft", "lr": 3e-3, "batch_tokens": 24, "delta": {"prompt": {"length": 3}}}},
    ),
}
FILES = ("model/model.safetensors", "log.parquet", "labels.parquet", "scores.parquet", "realised.parquet")


def rows(first: int, number: int) -> list[dict]:
    """Rows of two tasks: whether a count is above four, and whether it is even."""
    out = []
    for k in range(first, first + number):
        size, text = k % 7 + 1, " ".join(["one"] * (k % 7 + 1))
        for task, label in (("size", "big" if size > 4 else "small"), ("even", "no" if size % 2 else "yes")):
            turns = [{"role": "user", "content": f"{task}{k} {text}"}, {"role": "assistant", "content": label}]
            out.append({"id": f"{task}{k}", "messages": turns, "source": task})
    return out


@pytest.fixture
def inputs(chat_tokenizer, tmp_path, as_artifact):
    import pyarrow as pa

    from windtunnel.schemas.records import CONVERSATION

    def write(role: str, records: list[dict]):
        (tmp_path / role / "rows").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(records, CONVERSATION), tmp_path / role / "rows" / "0.parquet")
        return as_artifact(tmp_path / role)

    (tmp_path / "tokenizer").mkdir()
    chat_tokenizer.save_pretrained(str(tmp_path / "tokenizer" / "tokenizer"))
    strange = {"id": "strange", "source": "size", "messages": [
        {"role": "user", "content": "size one"}, {"role": "assistant", "content": "middling"}]}  # fmt: skip
    return {
        "conversations": write("conversations", rows(0, 24)),
        "held_out_conversations": write("held_out_conversations", [*rows(24, 8), strange]),
        "tokenizer": as_artifact(tmp_path / "tokenizer"),
    }


def run(kind: str, spec: dict, inputs, out, **more):
    return train(Stage.from_specs("mix", 0, MODELS[kind], {"constant": {}}, spec), inputs, out, **more)


def opened(objective, model_spec, inputs, tokenizer, tmp_path):
    """Return (model, setting, labels, the first batch) of an objective on a new model."""
    torch.manual_seed(0)
    setting = Setting(inputs, tokenizer, 64, 0, tmp_path / "cache")
    model = objective.adopt(model_spec.build_for(tokenizer)).eval()
    data = objective.open(setting, model)
    found = objective.rows(setting, "conversations")
    return model, setting, Labels(found, objective.encoder(setting)), data.batch(0)[0]


@pytest.mark.parametrize("name", SPECS)
def test_a_killed_run_resumes_to_the_same_bits(name, inputs, tmp_path):
    class Killed(Exception):
        pass

    def kill(step, *_):
        if step == 3:
            raise Killed

    kind, spec = SPECS[name]
    whole = run(kind, spec, inputs, tmp_path / "whole")
    with pytest.raises(Killed):
        run(kind, spec, inputs, tmp_path / "cut", report=kill, checkpoint_steps=2)
    again = run(kind, spec, inputs, tmp_path / "cut")
    for file in FILES:
        assert (tmp_path / "whole" / file).exists() == (tmp_path / "cut" / file).exists()
        if (tmp_path / "whole" / file).exists():
            assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "cut" / file).read_bytes(), file
    assert whole.model_dump(exclude=set(whole.measured)) == again.model_dump(exclude=set(again.measured))
    items = pl.read_parquet(tmp_path / "whole" / "labels.parquet")
    assert items.height == 16 and whole.metrics["label_items"] == 16 and whole.metrics["held_out_unknown_labels"] == 1
    assert whole.metrics["label_accuracy"] == pytest.approx(items["correct"].mean())
    assert set(items["task"]) == {"labels/size", "labels/even"} and items["chance"].to_list() == [0.5] * 16


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_a_saved_classifier_is_transformers_own(kind, inputs, tmp_path):
    """On a padded batch of plain texts, `AutoModelForSequenceClassification` gives the probabilities that we wrote."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    run(kind, CLASSIFIER, inputs, tmp_path / "run")
    model = AutoModelForSequenceClassification.from_pretrained(str(tmp_path / "run" / "model")).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "run" / "model"))
    assert model.config.id2label == {0: "big", 1: "no", 2: "small", 3: "yes"}
    items = pl.read_parquet(tmp_path / "run" / "labels.parquet")
    asked = [f"size{k} " + " ".join(["one"] * (k % 7 + 1)) for k in range(24, 32)]
    batch = tokenizer(asked, padding=True, return_tensors="pt", padding_side="right")
    assert (batch["attention_mask"] == 0).any()
    with torch.no_grad():
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    shares = logits[:, [0, 2]].softmax(1)  # the labels of the task
    ours = {row["document"]: row for row in items.iter_rows(named=True)}
    for k, (big, small) in zip(range(24, 32), shares.tolist(), strict=True):
        row = ours[f"labels/size:size{k}"]
        assert row["probability"] == pytest.approx(big if row["answer"] == "big" else small, abs=1e-5)
        assert row["correct"] == float((big > small) == (row["answer"] == "big"))


def test_the_gpt_head_reads_the_last_token_and_the_bert_head_cls(inputs, chat_tokenizer, tmp_path):
    objective = Classifier()
    model, _, _, batch = opened(objective, LLAMA, inputs, chat_tokenizer, tmp_path)
    tensors = batch.tensors
    last = tensors["attended"].sum(1) - 1
    with torch.no_grad():
        ends = tensors["input_ids"].gather(1, last[:, None])[:, 0]
        assert set(ends.tolist()) == {chat_tokenizer.eos_token_id}
        states = model.model(tensors["input_ids"], attention_mask=tensors["attended"].long()).last_hidden_state
        expected = model.score(states[torch.arange(len(last)), last])
        torch.testing.assert_close(objective.label_logits(model, tensors), expected, atol=1e-5, rtol=0)
    model, _, _, batch = opened(objective, BERT, inputs, chat_tokenizer, tmp_path / "b")
    tensors = batch.tensors
    with torch.no_grad():
        assert set(tensors["input_ids"][:, 0].tolist()) == {chat_tokenizer.cls_token_id}
        states = model.bert(tensors["input_ids"], attention_mask=tensors["attended"].long()).last_hidden_state
        pooled = torch.tanh(model.bert.pooler.dense(states[:, 0]))
        expected = model.classifier(pooled)
        torch.testing.assert_close(objective.label_logits(model, tensors), expected, atol=1e-5, rtol=0)


def test_the_loss_of_text_to_text_is_transformers_own(inputs, chat_tokenizer, tmp_path):
    objective = TextToText(batch_tokens=100)
    model, setting, labels, batch = opened(objective, T5(**SIZE), inputs, chat_tokenizer, tmp_path)
    tensors = batch.tensors
    targets = tensors["targets"].masked_fill(~tensors["scored"], -100)
    assert (targets == -100).any() and not tensors["attended"].all()
    with torch.no_grad():
        own, theirs = (
            objective.loss(model, batch),
            model(input_ids=tensors["input_ids"], attention_mask=tensors["attended"].long(), labels=targets).loss,
        )
        assert float(own.total) / own.normaliser == pytest.approx(float(theirs), rel=1e-5)
        found = objective.rows(setting, "conversations")
        nats = objective.label_nats(model, found, labels)
        number = labels.names.index("big")
        row = found[0]  # of `size`
        ids = torch.from_numpy(row.ids[~row.target])[None]
        theirs = model(input_ids=ids, labels=torch.tensor([labels.tokens[number]])).loss
    assert nats[0, number] == pytest.approx(float(theirs) * len(labels.tokens[number]), rel=1e-4)
    assert np.isnan(nats[0, labels.names.index("yes")])  # the other task's


def test_a_prompt_reads_the_words_at_the_slot(inputs, chat_tokenizer, tmp_path):
    objective = Prompted(words=WORDS, template="{text} It is:{slot}!")
    model, setting, labels, batch = opened(objective, BERT, inputs, chat_tokenizer, tmp_path)
    tensors, encoder = batch.tensors, objective.encoder(setting)
    words = [encoder.ids(WORDS[name])[0] for name in labels.names]
    with torch.no_grad():
        logits = model(tensors["input_ids"], attention_mask=tensors["attended"].long()).logits
        slots = (tensors["input_ids"] == chat_tokenizer.mask_token_id).nonzero()
        assert slots[:, 0].tolist() == list(range(len(logits)))
        expected = logits[slots[:, 0], slots[:, 1]][:, words]
        torch.testing.assert_close(objective.label_logits(model, tensors), expected, atol=1e-5, rtol=0)
        soft = objective.model_copy(update={"verbalizer": "soft"})
        soft.open(setting, model)  # embeddings of labels begin as those of their words
        torch.testing.assert_close(soft.label_logits(model, tensors), expected, atol=1e-5, rtol=0)


def test_a_causal_model_says_the_word_that_comes_next(inputs, eos_tokenizer, tmp_path):
    objective = Prompted(words=WORDS, template="{text}:{slot}")
    model, setting, labels, batch = opened(objective, LLAMA, inputs, eos_tokenizer, tmp_path)
    encoder = LabelEncoder(eos_tokenizer, objective.frame(setting))
    words, row = [encoder.ids(WORDS[name])[0] for name in labels.names], batch.tensors["input_ids"][0]
    length = int(batch.tensors["attended"][0].sum())
    with torch.no_grad():
        expected = model(row[None, :length]).logits[0, -1, words]
        found = objective.label_logits(model, batch.tensors)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="end the template"):
        Prompted(template="{text} {slot} there").frame(setting)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"template": "{text}"}, "once each"),
        ({"template": "{slot} {text}"}, "behind the text"),
        ({"words": {"huge": "1"}}, "'huge'.*big, no, small, yes"),
        ({"words": {**WORDS, "big": "21", "small": "22"}}, "same token"),
    ],
)
def test_prompts_that_cannot_be_are_refused(given, said, inputs, chat_tokenizer, tmp_path):
    with pytest.raises((InputError, ValueError), match=said):
        opened(Prompted(**given), BERT, inputs, chat_tokenizer, tmp_path)


def test_rows_without_labels_are_refused(inputs, chat_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("windtunnel.trainer.data.labelled.MOST", 3)
    with pytest.raises(InputError, match=r"4 different texts.*labelled rows"):
        opened(Classifier(), LLAMA, inputs, chat_tokenizer, tmp_path)


def test_micro_batches_hold_every_row_once(inputs, chat_tokenizer, tmp_path):
    objective = Classifier()
    _, setting, labels, _ = opened(objective, LLAMA, inputs, chat_tokenizer, tmp_path)
    found = objective.rows(setting, "conversations")
    numbers = labels.numbers(found)
    parts = list(labelled_batches(found, range(len(found)), numbers, 100))
    assert sorted(np.concatenate([which for which, _ in parts]).tolist()) == list(range(48)) and len(parts) > 5
    for which, batch in parts:
        assert batch.tensors["classes"].tolist() == numbers[which].tolist()


def test_every_way_has_items_of_one_form(inputs, tmp_path):
    """A head's own items, those of likelihoods after examples and by a template, and the majority's."""
    sft = {"sft": {"lr": 1e-2, "batch_tokens": 64, "epochs": 2}}
    run("causal", CLASSIFIER, inputs, tmp_path / "head")
    run("causal", sft, inputs, tmp_path / "reply")
    from windtunnel.schemas.artifact import MANIFEST, Artifact, Manifest

    tables, held_out = {}, inputs["held_out_conversations"].path / "rows"
    pq.write_table(pq.read_table(held_out / "0.parquet").slice(1, 1), held_out / "1.parquet")  # a row is there twice
    for name, work in {
        "head": LabelScores(), "reply": LabelScores(), "majority": LabelScores(),
    }.items():  # fmt: skip
        given = {"conversations": inputs["conversations"], "held_out": inputs["held_out_conversations"]}
        if name != "majority":
            Manifest(step=name, version=1, key=name.ljust(32, "0"), config={}).write(tmp_path / name / MANIFEST)
            given["run"] = Artifact(tmp_path / name)
        (tmp_path / "out" / name).mkdir(parents=True)
        counts = work.run(given, tmp_path / "out" / name, 0)
        assert counts.kept == 16 and counts.dropped == {
            "labels/even:duplicate_id": 1,
            "labels/size:unknown_label": 1,
        }
        tables[name] = pl.read_parquet(tmp_path / "out" / name / "items.parquet").sort("document")
    asked = ["task", "document", "source", "group", "prompt", "answer", "chance"]
    for name in ("reply", "majority"):
        assert tables[name].schema == tables["head"].schema
        assert tables[name].select(asked).equals(tables["head"].select(asked)), name
    known = [row["messages"][1]["content"] for row in rows(0, 24) if row["source"] == "size"]
    share = known.count("small") / 24
    sizes = tables["majority"].filter(task="labels/size")
    assert sizes["reply"].to_list() == ["small"] * 8
    assert set(sizes.filter(answer="small")["probability"].round(9)) == {round(share, 9)}


@pytest.mark.parametrize("name", ["gpt head", "bert head", "words"])
def test_labels_are_learned(name, inputs, tmp_path):
    kind, spec = SPECS[name]
    ((objective, params),) = spec.items()
    result = run(kind, {objective: {**params, "epochs": 30, "lr": 5e-3}}, inputs, tmp_path / "run")
    assert result.metrics["label_accuracy"] > 0.8  # a guess has one half
