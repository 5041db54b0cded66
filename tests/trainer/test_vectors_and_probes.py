"""Vectors of texts from every kind of model, and what a linear classifier reads from vectors."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from tests.conftest import invented_text
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.eval import probe as probes
from windtunnel.trainer.eval.probe import compare, probe
from windtunnel.trainer.eval.probe_tasks import Pairs, Texts, sources, word_senses
from windtunnel.trainer.eval.vectors import layer_vectors, vectors
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.models._model import Model
from windtunnel.trainer.modules.export import open_tokenizer

SIZE = {"width": 16, "layers": 2, "heads": 2, "context": 32}
SHAPES = {"llama": SIZE, "gpt2": SIZE, "bert": SIZE, "t5": SIZE, "elmo": {"width": 16, "cell": 24, "context": 32}}


@pytest.fixture(scope="module")
def models(world, tmp_path_factory):
    """Directories of untrained models of every kind by name, and of fitted static vectors."""
    out = tmp_path_factory.mktemp("models")
    for name, size in SHAPES.items():
        tokenizer = open_tokenizer(world.artifact("tokenizer").path / "tokenizer")
        torch.manual_seed(0)
        make(Model, {name: size}).build_for(tokenizer).save_pretrained(out / name)
        tokenizer.save_pretrained(out / name)
    static = {"static": {"width": 16, "buckets": 200, "fewest": 2, "context": 32}}
    train(Stage.from_specs("both", 0, static, "constant", "skipgram"), world.inputs(), out / "fit")
    (out / "fit" / "model").rename(out / "static")
    return {path.name: path for path in out.iterdir() if path.name != "fit"}


@pytest.mark.parametrize("name", [*SHAPES, "static"])
def test_a_text_has_the_same_vectors_alone_and_beside_others(models, name):
    texts = [invented_text(k, n) for k, n in ((1, 3), (2, 9), (3, 150))] + [""]
    layers = layer_vectors(models[name], texts)
    assert layers.shape[1:] == (4, 32 if name == "elmo" else 16) and layers.dtype == np.float32
    assert len(layers) == (1 if name == "static" else 3)
    alone = np.concatenate([layer_vectors(models[name], [text]) for text in texts[:3]], 1)
    assert np.allclose(layers[:, :3], alone, atol=1e-5)
    assert not layers[:, 3].any() and (np.abs(layers[:, :3]).sum(-1) > 0).all()
    assert np.array_equal(vectors(models[name], texts), layers[-1])


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_they_are_the_means_of_what_transformers_gives(models, name):
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(models[name]), AutoModel.from_pretrained(models[name])
    text = invented_text(5, 8)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    before, behind = {"bert": ([tokenizer.cls_token_id], [tokenizer.sep_token_id])}.get(name, ([0], []))
    with torch.no_grad():
        states = model(input_ids=torch.tensor([[*before, *ids, *behind]]), output_hidden_states=True).hidden_states
    expected = np.stack([layer[0, 1 : 1 + len(ids)].mean(0).numpy() for layer in states])
    assert np.allclose(layer_vectors(models[name], [text])[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("name", list(SHAPES))
def test_a_place_in_a_text_has_the_vector_of_its_tokens_in_context(models, name):
    text = "one two three " + invented_text(7, 100)
    start = text.index("three")
    layers = layer_vectors(models[name], [text, text], [(start, start + 5), (400, 410)])
    same = layer_vectors(models[name], ["six seven three " + invented_text(8, 100)], [(10, 15)])
    places = {"t5", "llama", "elmo"}  # whose lowest layer knows no positions
    if name in places:
        assert np.allclose(layers[0, 0], same[0, 0], atol=1e-5)
    assert not np.allclose(layers[2, 0], same[2, 0], atol=1e-3)
    assert np.abs(layers[:, 1]).sum() > 0


def test_static_vectors_of_a_place_do_not_know_its_context(models):
    a, b = layer_vectors(models["static"], ["is bank no", "the bank was"], [(3, 7), (4, 8)])[0]
    assert np.array_equal(a, b) and a.any()


def test_a_probe_finds_what_is_linear_and_nothing_in_noise():
    generator = np.random.default_rng(0)
    groups = [f"g{k}" for k in range(600)]
    labels = ["yes" if k % 3 else "no" for k in range(600)]
    noise = generator.normal(size=(600, 8))
    truth = noise + np.array([[1.5 if label == "yes" else -1.5] + [0] * 7 for label in labels])
    found, nothing = probe(truth, labels, groups), probe(noise, labels, groups)
    assert found.majority == pytest.approx(2 / 3) == nothing.majority
    assert found.accuracy > 0.9 and found.low < found.accuracy < found.high
    assert nothing.low < nothing.majority + 0.02
    assert np.array_equal(found.correct, probe(truth, labels, groups).correct)


def test_the_classifier_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(1)
    train_x, test_x = generator.normal(size=(1, 300, 5)), generator.normal(size=(1, 200, 5))
    targets = (train_x[0] @ generator.normal(size=(5, 3)) + generator.normal(size=(300, 3))).argmax(1)
    scaled = (train_x[0] - train_x[0].mean(0)) / train_x[0].std(0)
    peer = LogisticRegression(C=1.0, max_iter=1000, tol=1e-8).fit(scaled, targets)
    theirs = peer.predict((test_x[0] - train_x[0].mean(0)) / train_x[0].std(0))
    assert (probes._predict(train_x, targets, test_x, 3, 1.0) == theirs).mean() > 0.99


def test_a_weighted_sum_of_layers_finds_the_layer_that_knows():
    generator = np.random.default_rng(2)
    labels = [("a", "b")[k % 2] for k in range(300)]
    layers = generator.normal(size=(3, 300, 6))
    layers[1] += np.array([[2.0 if label == "a" else -2.0] + [0] * 5 for label in labels])
    assert probe(layers, labels, [str(k) for k in range(300)]).accuracy > 0.9


@pytest.fixture(scope="module")
def documents():
    texts = ["\n\n".join(invented_text(1000 * k + j, 40) for j in range(3)) for k in range(80)]
    rows = [(f"d{k}", text, ("x", "y")[k % 2]) for k, text in enumerate(texts)]
    return pl.DataFrame(rows, schema=["id", "text", "source"], orient="row")


def test_paragraphs_are_balanced_over_sources_and_grouped_by_document(documents):
    task = sources(documents, most=60)
    assert task.labels.count("x") == task.labels.count("y") == 60
    of = dict(documents.select("id", "source").iter_rows())
    assert [of[group] for group in task.groups] == task.labels
    assert all(200 <= len(text) <= 800 for text in task.texts)
    assert task == sources(documents.reverse(), most=60)


def test_pseudo_words_hide_which_word_was_there(documents):
    task = word_senses(documents, words=6, pairs=12)
    assert len(set(task.groups)) == 6 and len(task.labels) == 72 == len(task.texts) / 2
    assert task.labels.count("same") == 36
    for k, group in enumerate(task.groups):
        for place in (2 * k, 2 * k + 1):
            start, stop = task.spans[place]
            assert task.texts[place][start:stop] == group
    assert task == word_senses(documents.reverse(), words=6, pairs=12)
    with pytest.raises(InputError, match="no two words occur in 5002 documents"):
        word_senses(documents, pairs=5000)


def test_models_stand_side_by_side_and_static_vectors_cannot_tell_senses(models, documents):
    tasks = {"source": sources(documents, most=30), "senses": word_senses(documents, words=8, pairs=12)}
    table = compare({name: models[name] for name in ("static", "elmo")}, tasks)
    assert table["majority"].unique().to_list() == [0.5]
    assert table.filter(pl.col("model") == "elmo")["layer"].to_list() == ["0", "1", "2", "weighted", "0", "1", "2"]
    static = table.filter((pl.col("model") == "static") & (pl.col("task") == "senses"))
    assert static["accuracy"].item() == 0.5  # every pair has the same features
    assert isinstance(tasks["source"], Texts) and isinstance(tasks["senses"], Pairs)
