"""The frozen evaluation: every token once, in nats that plain logits give, whatever the batches."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import make
from windtunnel.trainer.data.encoder import open_encoder
from windtunnel.trainer.eval import evaluate
from windtunnel.trainer.models._model import Model

CONTEXT = 32


@pytest.fixture(scope="module")
def model(world):
    torch.manual_seed(1)
    return (
        make(Model, {"llama": {"width": 32, "layers": 2, "heads": 2, "context": CONTEXT, "init_std": 0.3}})
        .build(400, 0)
        .eval()
    )


def plain_nats(model, tokens, end):
    """One window at a time from full logits in double precision: end-of-text, then the document."""
    stream, total = np.concatenate([[end], tokens]), 0.0
    for start in range(0, len(tokens), CONTEXT):
        window = torch.from_numpy(stream[start : start + CONTEXT + 1])
        with torch.no_grad():
            logits = model(input_ids=window[None, :-1]).logits[0].double()
        total -= logits.log_softmax(-1)[torch.arange(len(window) - 1), window[1:]].sum().item()
    return total


@pytest.mark.parametrize("batch_tokens", [1, 100, 8192])
def test_nats_are_those_of_the_plain_logits(world, model, batch_tokens, monkeypatch):
    monkeypatch.setattr(evaluate, "BATCH_TOKENS", batch_tokens)
    held_out = evaluate.read_held_out(world.artifact("held_out"), open_encoder(world.root / "tokenizer" / "tokenizer"))
    lengths = [len(tokens) for tokens in held_out.tokens]
    assert min(lengths) < CONTEXT < max(lengths)
    nats = evaluate.document_nats(model, held_out.tokens, 0, CONTEXT)
    expected = [plain_nats(model, tokens, 0) for tokens in held_out.tokens]
    assert nats == pytest.approx(expected, rel=1e-5)


def test_every_length_around_the_window(model):
    documents = [
        np.arange(1, n + 1) for n in (0, 1, 2, CONTEXT - 1, CONTEXT, CONTEXT + 1, 2 * CONTEXT, 2 * CONTEXT + 1)
    ]
    nats = evaluate.document_nats(model, documents, 0, CONTEXT)
    assert nats[0] == 0.0
    assert nats == pytest.approx([plain_nats(model, tokens, 0) for tokens in documents], rel=1e-5)


def test_bytes_are_those_of_the_text_and_totals_are_sums(tmp_path, world, model):
    held_out = evaluate.read_held_out(world.artifact("held_out"), open_encoder(world.root / "tokenizer" / "tokenizer"))
    texts = pl.read_parquet(world.artifact("held_out").files("documents"))
    assert held_out.documents == texts["id"].to_list()
    assert held_out.bytes.tolist() == [len(text.encode()) for text in texts["text"]]
    nats = np.arange(9) + 0.5
    scores = evaluate.write_scores(held_out, nats, tmp_path / "scores.parquet")
    assert pl.read_parquet(tmp_path / "scores.parquet").equals(scores)
    assert scores.schema == {"document": pl.String, "source": pl.String, "bytes": pl.Int64, "nats": pl.Float64}
    sums = evaluate.totals(scores)
    assert sums["tales"]["documents"] == 8 and sums["notes"]["nats"] == 8.5
    assert sums["tales"]["bytes"] + sums["notes"]["bytes"] == held_out.bytes.sum()


def test_a_uniform_model_needs_log2_vocabulary_bits_a_token(world):
    flat = make(Model, {"llama": {"width": 32, "layers": 1, "heads": 2, "context": CONTEXT, "init_std": 1e-9}})
    held_out = evaluate.read_held_out(world.artifact("held_out"), open_encoder(world.root / "tokenizer" / "tokenizer"))
    nats = evaluate.document_nats(flat.build(400, 0).eval(), held_out.tokens, 0, CONTEXT)
    assert nats == pytest.approx([len(tokens) * math.log(400) for tokens in held_out.tokens], rel=1e-5)


def test_an_empty_held_out_set_is_an_error(tmp_path, world):
    encoder = open_encoder(world.root / "tokenizer" / "tokenizer")
    with pytest.raises(InputError, match="no held-out"):
        evaluate.read_held_out(Artifact(tmp_path), encoder)
    (tmp_path / "documents").mkdir()
    pl.DataFrame({"id": ["a"], "text": [""], "source": ["s"]}).write_parquet(tmp_path / "documents" / "00000.parquet")
    with pytest.raises(InputError, match="empty"):
        evaluate.read_held_out(Artifact(tmp_path), encoder)
