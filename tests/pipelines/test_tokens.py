"""Token shards: datatrove reads them, the sidecar names every document, nothing vanishes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.steps.tokens import Tokens, token_dtype
from schemas.artifact import Artifact
from schemas.errors import InputError
from schemas.records import DOCUMENT, document_id
from trainer.encoder import open_encoder


def test_datatrove_reads_the_shards(world):
    from datatrove.utils.dataset import DatatroveFolderDataset

    dataset = DatatroveFolderDataset(str(world.root / "tokens_wide" / "tokens"), seq_len=31, return_positions=True)
    files = world.artifact("tokens_wide").files("tokens", ".ds")
    expected = [np.fromfile(f, "<u2") for f in files]
    windows = [row for tokens in expected for row in tokens[: len(tokens) // 32 * 32].reshape(-1, 32)]
    assert len(dataset) == len(windows) > 300
    for number in range(0, len(windows), 17):
        item = dataset[number]
        assert item["input_ids"].tolist() == windows[number].tolist()


def test_index_and_sidecar_agree_with_the_text(world):
    encoder = open_encoder(world.root / "tokenizer" / "tokenizer")
    texts = {document_id(source, text): (source, text) for source, text in world.documents}
    seen = 0
    for file in world.artifact("tokens_wide").files("tokens", ".ds"):
        tokens = np.fromfile(file, "<u2")
        ends = np.fromfile(f"{file}.index", "<u8").astype(int)
        rows = pl.read_parquet(world.root / "tokens_wide" / "documents" / f"{file.stem}.parquet")
        assert ends[-1] == len(tokens)
        assert rows["tokens"].to_list() == np.diff(ends, prepend=0).tolist()
        for row, end in zip(rows.iter_rows(named=True), ends, strict=True):
            source, text = texts[row["id"]]
            piece = tokens[end - row["tokens"] : end]
            assert piece[-1] == encoder.end_of_text
            assert encoder.backend.decode(piece[:-1].tolist()) == text
            assert (row["source"], row["bytes"]) == (source, len(text.encode()))
            seen += 1
    assert seen == len(world.documents)


def test_empty_documents_are_counted_and_again_gives_the_same_bytes(tmp_path, world):
    texts = ["a word", "", "é" * 10, ""]
    rows = [{"id": document_id("s", t), "text": t, "source": "s"} for t in texts]
    (tmp_path / "c" / "kept").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT), tmp_path / "c" / "kept" / "00000.parquet")
    inputs = {"corpus": Artifact(tmp_path / "c"), "tokenizer": world.artifact("tokenizer")}
    assert Tokens().shards(inputs) == 1
    counts = Tokens().run(inputs, tmp_path / "out", 0)
    assert counts.check("tokens").dropped == {"empty": 2}
    assert (counts.seen, counts.kept, counts.bytes) == (4, 2, 26)
    before = _bytes(tmp_path / "out")
    assert len(before) == 3
    assert counts.tokens * 2 == len(before["tokens/00000.ds"])
    Tokens().run(inputs, tmp_path / "out", 0)
    assert _bytes(tmp_path / "out") == before


def test_tokens_widen_with_the_vocabulary():
    assert token_dtype(65_536) == np.dtype("<u2")
    assert token_dtype(65_537) == np.dtype("<u4")


def test_a_corpus_without_shards_is_an_error(tmp_path, world):
    (tmp_path / "kept").mkdir()
    with pytest.raises(InputError, match="no shard"):
        Tokens().shards({"corpus": Artifact(tmp_path), "tokenizer": world.artifact("tokenizer")})


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}
