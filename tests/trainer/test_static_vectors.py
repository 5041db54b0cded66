"""Skipgram vectors: equal bytes again, fastText's own vectors, neighbours in the text are neighbours in space."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.trainer.loop.train import Stage, train
from windtunnel.trainer.models._model import kind_in, load
from windtunnel.trainer.modules.static_vectors import StaticVectors, ngram_buckets, words_of

MODEL = {"static": {"width": 24, "buckets": 500, "fewest": 2, "context": 32}}


def stage(seed=0, model=MODEL, **parameters):
    return Stage.from_specs("both", seed, model, "constant", {"skipgram": {"epochs": 4, **parameters}})


@pytest.fixture(scope="module")
def fitted(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("fitted")
    return out, train(stage(), world.inputs(), out)


def test_it_says_what_it_did(fitted):
    out, result = fitted
    assert result.tokens == 4 * 8192 and result.steps == 1 and result.measure is None and result.held_out is None
    assert 0 < result.final_loss < 6 * np.log(2)  # of a pair and five others before anything is learnt
    assert result.bytes_trained == pl.read_parquet(out / "realised.parquet")["bytes"].sum() > 0
    assert kind_in(out / "model") == "static"
    with pytest.raises(InputError, match="the model is static"):
        load(out / "model")


def test_equal_settings_give_equal_bytes_and_seeds_differ(world, fitted, tmp_path):
    files = {path.name: path.read_bytes() for path in (fitted[0] / "model").iterdir()}
    train(stage(), world.inputs(), tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again" / "model").iterdir()} == files
    train(stage(seed=1), world.inputs(), tmp_path / "seed")
    assert (tmp_path / "seed" / "model" / "model.safetensors").read_bytes() != files["model.safetensors"]


def test_the_vectors_are_those_that_fasttext_gives_known_or_not(fitted):
    import fasttext

    theirs = fasttext.load_model(str(fitted[0] / "model" / "fasttext.bin"))
    ours = StaticVectors.load(fitted[0] / "model")
    assert list(ours.words) == theirs.get_words() and len(ours.words) > 50
    for word in [*list(ours.words)[1:40], "unheard", "naïve", "日本語", "x"]:
        assert ours.vector(word) == pytest.approx(theirs.get_word_vector(word), abs=1e-6), word


def test_words_that_follow_one_another_are_near(world, tmp_path):
    train(stage(threshold=1.0, epochs=20, lr=0.1), world.inputs(), tmp_path)
    vectors = StaticVectors.load(tmp_path / "model")
    known = [[w for w in words_of(text) if w in vectors.words and w.isalpha()] for _, text in world.documents]
    norm = vectors.vectors - vectors.vectors.mean(0)
    norm /= np.linalg.norm(norm, axis=1, keepdims=True)
    rows = [[vectors.words[word] for word in text] for text in known]
    near = np.mean([norm[a] @ norm[b] for text in rows for a, b in pairwise(text) if a != b])
    flat = np.concatenate([np.array(text, int) for text in rows])
    far = np.mean([norm[a] @ norm[b] for a, b in np.random.default_rng(0).choice(flat, (4000, 2)) if a != b])
    assert near > far + 0.1, (near, far)


def test_no_ngrams_gives_plain_words(world, tmp_path):
    plain = {"static": {**MODEL["static"], "longest": 0}}
    train(stage(model=plain), world.inputs(), tmp_path)
    vectors = StaticVectors.load(tmp_path / "model")
    assert len(vectors.ngrams) == 0 and not vectors.vector("unheard").any()
    assert ngram_buckets("word", 3, 0, 0) == []


def test_a_model_of_another_kind_is_refused(world, tmp_path):
    with pytest.raises(RecipeError, match="'skipgram' trains static models, and 'llama' is causal: take the model"):
        train(stage(model="llama"), world.inputs(), tmp_path)


def test_words_that_are_too_rare_are_said_to_be(world, tmp_path):
    rare = {"static": {**MODEL["static"], "fewest": 10**6}}
    with pytest.raises(InputError, match="occurs 1000000 times: lower `fewest`"):
        train(stage(model=rare), world.inputs(), tmp_path)
