"""The tokenizer step: lossless, deterministic, deaf to special tokens in text, and a directory that others load."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.pipelines.datasets import tokenizer as tokenizer_module
from windtunnel.pipelines.datasets.tokenizer import (
    CHAT,
    END_OF_TEXT,
    TokenizerFromDirectory,
    TrainTokenizer,
    from_directory,
)
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.records import DOCUMENT, document_id
from windtunnel.trainer.data import encoder as encoder_module
from windtunnel.trainer.data.encoder import open_encoder


def corpus(path: Path, *shards: list[str]) -> Artifact:
    (path / "kept").mkdir(parents=True)
    for rank, texts in enumerate(shards):
        rows = [{"id": document_id("s", t), "text": t, "source": "s"} for t in texts]
        pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT), path / "kept" / f"{rank:05d}.parquet")
    return Artifact(path)


@settings(max_examples=60)
@given(st.text(max_size=200))
def test_any_text_comes_back_unchanged(world, text):
    encoder = open_encoder(world.root / "tokenizer" / "tokenizer")
    (ids,) = encoder.encode([text])
    assert encoder.backend.decode(ids.tolist(), skip_special_tokens=False) == text
    assert not len(ids) or ids.max() < encoder.vocabulary


def test_same_text_in_other_shards_gives_the_same_bytes(tmp_path, world):
    texts = [text for _, text in world.documents]
    one = corpus(tmp_path / "one", texts)
    many = corpus(tmp_path / "many", texts[60:], texts[:20], texts[20:60])
    found = []
    for name, artifact in (("a", one), ("b", many), ("c", one)):
        TrainTokenizer(vocabulary=500).run({"corpus": artifact}, tmp_path / name, 0)
        found.append((tmp_path / name / "tokenizer" / "tokenizer.json").read_bytes())
    assert found[0] == found[1] == found[2]


def test_special_tokens_in_text_are_characters(world):
    encoder = open_encoder(world.root / "tokenizer" / "tokenizer")
    (ids,) = encoder.encode([f"a{END_OF_TEXT}b{CHAT[0]}c"])
    special = {encoder.backend.token_to_id(token) for token in (END_OF_TEXT, *CHAT)}
    assert special == {0, 1, 2}
    assert not special & set(ids.tolist())
    assert encoder.backend.decode(ids.tolist()) == f"a{END_OF_TEXT}b{CHAT[0]}c"


def test_transformers_loads_the_directory(world):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(world.root / "tokenizer" / "tokenizer", local_files_only=True)
    assert tokenizer.is_fast
    assert tokenizer.eos_token == END_OF_TEXT and tokenizer.eos_token_id == 0
    assert len(tokenizer) == 400
    text = "Größe: 12,345 kg\n\n  naïve 日本語 \t🙂"
    ids = tokenizer(text)["input_ids"]
    (ours,) = open_encoder(world.root / "tokenizer" / "tokenizer").encode([text])
    assert ids == ours.tolist()
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("sign", ["a", " ", "\n", "長", "="])
def test_text_without_spaces_takes_linear_time(world, sign):
    text = sign * 500_000
    encoder = open_encoder(world.root / "tokenizer" / "tokenizer")
    started = time.process_time()
    (ids,) = encoder.encode([text])
    assert time.process_time() - started < 10  # quadratic merging would take minutes
    assert encoder.backend.decode(ids.tolist()) == text


def test_pieces_of_a_long_text_join(world, monkeypatch):
    monkeypatch.setattr(encoder_module, "PIECE", 10)
    monkeypatch.setattr(encoder_module, "GROUP", 25)
    encoder = open_encoder(world.root / "tokenizer" / "tokenizer")
    texts = ["x", "ab c" * 12 + "é", "", "a" * 10, "b" * 11, ""]
    assert [encoder.backend.decode(ids.tolist()) for ids in encoder.encode(texts)] == texts


def test_counts_and_a_cap_on_what_is_learnt_from(tmp_path, world):
    texts = [text for _, text in world.documents]
    artifact = corpus(tmp_path / "c", texts)
    counts = TrainTokenizer(vocabulary=400, max_bytes=60_000).run({"corpus": artifact}, tmp_path / "out", 0)
    counts.check("tokenizer")
    assert counts.seen == 120
    assert 0 < counts.kept < 120
    assert counts.dropped == {"beyond_max_bytes": 120 - counts.kept}
    assert counts.bytes < 120_000


def test_a_long_document_in_pieces_has_the_same_words(tmp_path, world, monkeypatch):
    text = "\n\n".join(text for _, text in world.documents)
    artifact = corpus(tmp_path / "c", [text, "short"])
    found = []
    for name, piece in (("whole", len(text)), ("pieces", 1000)):
        monkeypatch.setattr(tokenizer_module, "PIECE", piece)
        counts = TrainTokenizer(vocabulary=400, max_bytes=10**9).run({"corpus": artifact}, tmp_path / name, 0)
        counts.check("tokenizer")
        assert counts.kept == 2 and counts.bytes == len(text.encode()) + 5
        found.append((tmp_path / name / "tokenizer" / "tokenizer.json").read_bytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("text", ["", "ab" * 500, "one two " * 100, "長い" * 300, " " * 600, "a  b " * 99])
def test_pieces_join_to_the_text(text, monkeypatch):
    monkeypatch.setattr(tokenizer_module, "PIECE", 64)
    pieces = list(tokenizer_module._pieces(text))
    assert "".join(pieces) == text
    assert all(len(piece) <= 64 for piece in pieces) and (all(pieces) or not text)


@pytest.mark.parametrize("number", range(4))  # the id, which the number changes, decided over the whole document
def test_one_long_document_does_not_overrun_the_cap(tmp_path, number):
    text = f"{number} is a number and these are words " * 60_000
    artifact = corpus(tmp_path / "c", [text])
    counts = TrainTokenizer(vocabulary=400, max_bytes=600_000).run({"corpus": artifact}, tmp_path / "out", 0)
    assert 200_000 < counts.bytes < 1_200_000 and counts.kept == 1


def test_a_corpus_too_small_for_the_vocabulary_says_so(tmp_path):
    artifact = corpus(tmp_path / "c", ["to be or not to be"])
    counts = TrainTokenizer(vocabulary=4096).run({"corpus": artifact}, tmp_path / "out", 0)
    assert counts.notes["vocabulary"] < 300
    assert "not 4096" in str(counts.notes["warning"])


def test_an_empty_corpus_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no document"):
        TrainTokenizer(vocabulary=4096).run({"corpus": corpus(tmp_path / "c", [])}, tmp_path / "out", 0)


def test_a_directory_of_the_users_own(tmp_path, world):
    source = world.root / "tokenizer" / "tokenizer"
    work = from_directory(str(source))
    assert len(work.digest) == 32
    work.run({}, tmp_path / "out", 0)
    assert (tmp_path / "out" / "tokenizer" / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    with pytest.raises(RecipeError, match=r"no tokenizer\.json"):
        from_directory(str(tmp_path))
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    (bare / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(InputError, match="eos_token"):
        TokenizerFromDirectory(path=str(bare)).run({}, tmp_path / "out2", 0)
