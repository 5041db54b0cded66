"""Vocabularies, contexts and domains of unusual size: they work, or are refused before any training."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from tests.conftest import write_chat_model, write_corpus
from windtunnel.pipelines.datasets.mix import Mix
from windtunnel.pipelines.datasets.tokens import Tokens, token_dtype
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.trainer.loop.loop import Loop
from windtunnel.trainer.loop.train import Stage, train

MODEL = {"llama": {"width": 16, "layers": 1, "heads": 2, "context": 32}}
PRETRAINED = {"pretrained": {"context": 1024}}


def stage(model, **objective) -> Stage:
    return Stage.from_specs("tiny", 0, model, {"constant": {}}, {"causal_lm": {"batch_tokens": 512, **objective}})


@pytest.fixture
def tiny(world, tmp_path) -> dict[str, Artifact]:
    """The inputs of a run on one document that is shorter than a window, and much shorter than a batch."""
    write_corpus(tmp_path / "tiny", [("tales", "to heed or not")], shards=1)
    inputs = {"corpus": Artifact(tmp_path / "tiny"), "tokenizer": world.artifact("tokenizer")}
    Tokens().run(inputs, tmp_path / "tokens", 0)
    tokens = {"tokens:tiny": Artifact(tmp_path / "tokens")}
    Mix(weights={"tiny": 1.0}, token_budget=2048, context=32, max_epochs=1000).run(tokens, tmp_path / "mix", 0)
    return {**world.inputs(), **tokens, "mix": Artifact(tmp_path / "mix")}


def test_a_domain_smaller_than_a_window_is_repeated(tiny, tmp_path):
    result = train(stage(MODEL, lr=1e-2), tiny, tmp_path / "run")
    realised = pl.read_parquet(tmp_path / "run" / "realised.parquet")
    size = pl.read_parquet(tiny["tokens:tiny"].files("documents")[0])["tokens"].sum()
    assert size < 32 and result.tokens == 2048
    assert realised["epochs"].item() == pytest.approx(2048 / size)
    whole = np.fromfile(tiny["tokens:tiny"].files("tokens", ".ds")[0], "<u2")
    window = Loop(stage(MODEL), tiny, tmp_path / "again", "x", None).data.batch(0)[0].tensors["ids"][0].numpy()
    assert set(window) == set(whole) and (np.bincount(window)[whole] >= 33 // size).all()


def test_a_domain_smaller_than_a_batch_is_refused_beyond_its_epochs(tiny, tmp_path):
    with pytest.raises(RecipeError, match="epochs"):
        Mix(weights={"tiny": 1.0}, token_budget=2048, max_epochs=4).run(tiny, tmp_path / "few", 0)


def test_a_budget_smaller_than_a_batch_is_refused(tiny, tmp_path):
    with pytest.raises(RecipeError, match=r"a budget of 2,048 tokens is less than one step of 4,096"):
        train(stage(MODEL, batch_tokens=4096), tiny, tmp_path / "run")


def test_a_context_beyond_the_budget_is_what_is_named(tiny, tmp_path):
    long = {"llama": {**MODEL["llama"], "context": 4096}}
    with pytest.raises(
        RecipeError, match=r"2,048 tokens is less than one row of 4,096: lower the context or raise the"
    ):
        train(stage(long, batch_tokens=256), tiny, tmp_path / "run")


def test_a_context_beyond_the_positions_of_a_loaded_model_is_cut_to_them(world, tmp_path):
    base = write_chat_model(tmp_path / "base")
    inputs = world.inputs() | {"tokenizer": Artifact(tmp_path / "other")}
    loop = Loop(stage(PRETRAINED), inputs, tmp_path / "run", "x", base)
    assert loop.setting.context == 256


def test_a_tokenizer_with_more_ids_than_the_model_embeds_is_refused(world, tmp_path):
    base = write_chat_model(tmp_path / "base")
    path = base / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    token = {**tokenizer["added_tokens"][0], "id": 320, "content": "<|one_more|>"}
    path.write_text(json.dumps({**tokenizer, "added_tokens": [*tokenizer["added_tokens"], token]}))
    with pytest.raises(InputError, match=r"the tokenizer has 321 token ids and the model embeds 320"):
        Loop(stage(PRETRAINED), world.inputs(), tmp_path / "run", "x", base)


@pytest.mark.parametrize(("vocabulary", "bytes_"), [(1 << 16, 2), ((1 << 16) + 1, 4), (1 << 32, 4)])
def test_a_token_has_as_many_bytes_as_its_vocabulary_needs(vocabulary, bytes_):
    assert token_dtype(vocabulary).itemsize == bytes_
    assert np.array([vocabulary - 1]).astype(token_dtype(vocabulary)).item() == vocabulary - 1


def test_a_vocabulary_beyond_four_bytes_is_refused():
    with pytest.raises(InputError, match=r"largest id is 4,294,967,296"):
        token_dtype((1 << 32) + 1)
