"""Token shards: datatrove reads them, the sidecar names every document, nothing vanishes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.datasets.tokens import Tokens, token_dtype
from windtunnel.pipelines.plan.builder import plan
from windtunnel.pipelines.recipe.shipped import load
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.records import DOCUMENT, document_id
from windtunnel.trainer.data.encoder import open_encoder


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


@pytest.mark.parametrize("shards", [0, 1, 3])
def test_what_is_known_is_copied_and_the_bytes_are_the_same(shards, tmp_path, world):
    texts = [text for _, text in world.documents[:60]]
    rows = [{"id": document_id("s", t), "text": t, "source": "s"} for t in texts]
    kept = [dict(row) for i, row in enumerate(rows) if i % 4]  # a filter
    kept[4]["text"] += " and more"  # an edit: same id, other text
    kept[7]["text"] = ""
    kept.insert(9, {"id": "new", "text": "not in the larger corpus", "source": "s"})
    kept[20], kept[21] = kept[21], kept[20]
    tokenizer = world.artifact("tokenizer")
    for name, found, parts in (("large", rows, shards), ("small", kept, 1)):
        (tmp_path / name / "kept").mkdir(parents=True)
        for rank in range(parts):
            table = pa.Table.from_pylist(found[rank::parts], schema=DOCUMENT)
            pq.write_table(table, tmp_path / name / "kept" / f"{rank:05d}.parquet")
            inputs = {"corpus": Artifact(tmp_path / name), "tokenizer": tokenizer}
            Tokens().run(inputs, tmp_path / f"tokens_{name}", rank)
    inputs = {
        "corpus": Artifact(tmp_path / "small"),
        "tokenizer": tokenizer,
        "known": Artifact(tmp_path / "tokens_large"),
    }
    counts = Tokens().run(inputs, tmp_path / "out", 0).check("tokens")
    assert _bytes(tmp_path / "out") == _bytes(tmp_path / "tokens_small")
    known = [row["text"] for row in rows[0::shards]] if shards else []  # a document of another shard is encoded
    assert counts.notes["copied"] == sum(row["text"] in known for row in kept)
    assert counts.notes["copied"] > 10 or not shards


def test_a_corpus_is_encoded_once_and_what_saves_work_is_no_part_of_the_key():
    made = plan(load("quickstart"))
    assert made.find("tokens:deduped").inputs["known"] is made.find("tokens:filtered")
    assert made.find("tokens:filtered").inputs["known"] is made.find("tokens:raw")
    assert "known" not in made.find("tokens:raw").inputs
    alone = plan(load("quickstart", ["mixes.raw={deduped: 2.0}", "mixes.filtered={deduped: 3.0}"]))
    assert "known" not in alone.find("tokens:deduped").inputs
    assert alone.find("tokens:deduped").key == made.find("tokens:deduped").key


def test_tokens_widen_with_the_vocabulary():
    assert token_dtype(65_536) == np.dtype("<u2")
    assert token_dtype(65_537) == np.dtype("<u4")


def test_a_corpus_without_shards_is_an_error(tmp_path, world):
    (tmp_path / "kept").mkdir()
    with pytest.raises(InputError, match="no shard"):
        Tokens().shards({"corpus": Artifact(tmp_path), "tokenizer": world.artifact("tokenizer")})


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}
