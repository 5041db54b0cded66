"""The artifacts of a store, by name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pytest

import windtunnel as wt
from windtunnel.schemas.artifact import MANIFEST, Manifest


def artifact(store: Path, step: str, key: str, time: int, tables: dict[str, pl.DataFrame]) -> Path:
    folder = store / f"{step.replace(':', '.')}-{key[:8]}"
    for name, table in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        table.write_parquet(folder / name)
    manifest = Manifest(step=step, version=1, key=key.ljust(32, "0"), config={}, counts={"kept": 2})
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write(folder / MANIFEST)
    os.utime(folder / MANIFEST, (time, time))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = pl.DataFrame({"id": ["a", "b"]})
    shards = {"kept/00000.parquet": rows, "kept/00001.parquet": rows, "dropped/00000.parquet": rows.head(1)}
    artifact(tmp_path, "corpus:filtered", "aaaa1111", 30, {"kept/00000.parquet": rows.head(1)})
    artifact(tmp_path, "corpus:filtered", "aaaa2222", 20, shards)
    artifact(tmp_path, "compare", "bbbb", 10, {"effects.parquet": rows, "loss_matrix.parquet": rows})
    artifact(tmp_path, "report", "cccc", 40, {})
    (tmp_path / "corpus.raw-dddd.partial" / "kept").mkdir(parents=True)
    return tmp_path


def test_a_name_means_what_was_finished_last_and_a_key_exactly_one(folder: Path) -> None:
    store = wt.Store.open(folder)
    names = ["compare-bbbb0000", "corpus:filtered-aaaa2222", "corpus:filtered-aaaa1111", "report-cccc0000"]
    assert store.names() == list(store) == names and len(store) == 4
    assert store["corpus:filtered"].name == "corpus:filtered-aaaa1111"
    assert store["corpus:filtered-aaaa2"].name == "corpus:filtered-aaaa2222"
    assert "corpus:filtered" in store and "corpus:filtered-aaaa2222" in store and "corpus:raw" not in store
    with pytest.raises(wt.InputError, match="'corpus:filtered-aaaa' means several artifacts: corpus:filtered-"):
        store["corpus:filtered-aaaa"]
    with pytest.raises(wt.InputError, match="has no artifact 'corpus:filterd': did you mean 'corpus:filtered'"):
        store["corpus:filterd"]


def test_tables_come_as_frames(folder: Path) -> None:
    store = wt.Store.open(str(folder))
    corpus = store["corpus:filtered-aaaa2222"]
    assert corpus.tables == ["dropped", "kept"] and corpus.manifest.counts == {"kept": 2}
    assert corpus.to_polars()["id"].to_list() == ["a", "b", "a", "b"] == corpus.scan().collect()["id"].to_list()
    assert corpus.to_arrow("dropped").equals(pa.table({"id": pa.array(["a"], pa.large_string())}))
    assert store["compare"].to_polars("effects").height == 2
    with pytest.raises(wt.InputError, match="holds several tables: name one of 'effects', 'loss_matrix'"):
        store["compare"].to_polars()
    with pytest.raises(wt.InputError, match="has tables by name, and 3 is none: "):
        corpus.to_polars(3)  # type: ignore[arg-type]
    with pytest.raises(wt.InputError, match="has artifacts by name, and 3 is none"):
        store[3]  # type: ignore[index]
    with pytest.raises(wt.InputError, match="has no table 'kpt': did you mean 'kept'"):
        corpus.scan("kpt")
    with pytest.raises(wt.InputError, match=r"holds no table, but manifest.json"):
        store["report"].to_arrow()


def test_what_is_no_store_and_what_is_damaged(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(wt.InputError, match="there is no store"):
        wt.Store.open(folder / "none")
    (folder / "empty").mkdir()
    with pytest.raises(wt.InputError, match="holds no finished artifact"):
        wt.Store.open(folder / "empty")
    (folder / "corpus.filtered-aaaa1111" / "kept" / "00000.parquet").write_bytes(b"PAR1")
    corpus = wt.Store.open(folder)["corpus:filtered"]
    for read in (corpus.to_polars, corpus.to_arrow):
        with pytest.raises(wt.InputError, match=r"filtered-aaaa1111 is damaged \(.*delete .*run the recipe again"):
            read()
    (folder / "corpus.filtered-aaaa1111" / MANIFEST).write_text("{", encoding="utf-8")
    with pytest.raises(wt.InputError, match="is damaged, or written by another version"):
        wt.Store.open(folder)["corpus:filtered"]


@pytest.mark.parametrize("manifest", ["{", "{}", "\u00ff", "[]"])
def test_a_foreign_or_damaged_manifest_stops_no_other_artifact(folder: Path, manifest: str) -> None:
    for name in ("website", "corpus.other-eeee0000", "corpus.filtered-aaaa3333"):
        (folder / name).mkdir()
        (folder / name / MANIFEST).write_text(manifest, encoding="latin-1")
        os.utime(folder / name / MANIFEST, (25, 25))
    (folder / "train.x-ffff0000" / MANIFEST).mkdir(parents=True)
    store = wt.Store.open(folder)
    assert len(store) == 4 and store["corpus:filtered"].name == "corpus:filtered-aaaa1111"
    assert "corpus:other" not in store
    for damaged in ("corpus:other", "corpus:other-eeee", "corpus:filtered-aaaa3333", "train:x"):
        with pytest.raises(wt.InputError, match=r"manifest.json is damaged, or written by another version"):
            store[damaged]
    os.utime(folder / "corpus.filtered-aaaa3333" / MANIFEST, (50, 50))
    with pytest.raises(wt.InputError, match=r"aaaa3333/manifest.json is damaged"):  # the last one is meant
        store["corpus:filtered"]


def test_a_damaged_artifact_of_a_bucket_is_named_by_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINDTUNNEL_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bad-store/corpus.x-12345678/manifest.json", b'{"key": "12345678", "bytes": 0}')
    address = "memory://bad-store/corpus.x-12345678/manifest.json is damaged"
    with pytest.raises(wt.InputError, match=address):
        wt.Store.open("memory://bad-store")
    artifact(tmp_path / "local", "corpus:y", "aaaa1111", 30, {})
    memory.put(str(tmp_path / "local" / "corpus.y-aaaa1111"), "/bad-store/corpus.y-aaaa1111", recursive=True)
    store = wt.Store.open("memory://bad-store")
    assert store.names() == ["corpus:y-aaaa1111"]
    with pytest.raises(wt.InputError, match=address):
        store["corpus:x"]
    with pytest.raises(wt.InputError, match=r"^memory://bad-store has no artifact 'report'"):
        store["report"]
    memory.rm("/bad-store", recursive=True)


def test_texts_and_stores_may_be_in_object_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDTUNNEL_CACHE", str(tmp_path / "first"))
    with fsspec.open("memory://api/texts.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": f"the river of {i} runs to the stone {i * i}"}) + "\n" for i in range(200))
    texts = wt.read("memory://api/texts.jsonl")
    assert texts.height == 200
    setup: dict[str, Any] = {
        "token_budget": 1024, "batch_tokens": 256, "tokenizer": 300, "device": "cpu", "store": "memory://api/store",
        "model": {"llama": {"width": 32, "layers": 1, "heads": 2, "context": 32}},
    }  # fmt: skip
    first = wt.train(texts, **setup)
    monkeypatch.setenv("WINDTUNNEL_CACHE", str(tmp_path / "second"))  # another machine
    assert wt.Store.open("memory://api/store")["train:mix:0"].to_polars("log").equals(first.log)
    again = wt.train(texts, **setup)
    assert again.result == first.result and not again.path.is_relative_to(tmp_path / "first")
    assert again.path.joinpath("model.safetensors").is_file()
