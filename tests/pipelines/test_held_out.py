"""The held-out set and the training side: apart, whatever shards, copies and edits there are."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.datasets.held_out import HeldOut
from windtunnel.pipelines.datasets.matching import mask
from windtunnel.pipelines.datasets.near import NearIndex
from windtunnel.pipelines.datasets.train_split import TrainSplit
from windtunnel.pipelines.recipe.where import parse
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.records import DOCUMENT, document_id
from windtunnel.schemas.work import Counts, Work

WORDS = ["".join(chr(97 + i // 18**k % 18) for k in range(3)) for i in range(5000)]


def prose(seed: int, words: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def corpus(root: Path, rows: list[dict[str, Any]], shards: int = 1) -> Artifact:
    size = -(-len(rows) // shards) or 1
    (root / "kept").mkdir(parents=True)
    for shard in range(shards):
        part = rows[shard * size : (shard + 1) * size]
        whole = [
            {"id": document_id(r.get("source", "s"), r["text"]), "source": "s", "url": None, "lang": None, "meta": None}
            | r
            for r in part
        ]
        pq.write_table(pa.Table.from_pylist(whole, DOCUMENT), root / "kept" / f"{shard:05d}.parquet")
    return Artifact(root)


def do(work: Work, out: Path, **inputs: Artifact) -> tuple[Artifact, Counts]:
    work = type(work).model_validate_json(work.model_dump_json())
    parts = [work.run(inputs, out, rank).check("work") for rank in range(work.shards(inputs))]
    work.finish(inputs, out)
    return Artifact(out), Counts.total(parts).check("work")


def texts(artifact: Artifact, folder: str) -> list[str]:
    return [text for file in artifact.files(folder) for text in pl.read_parquet(file)["text"].to_list()]


@cache
def grams(text: str) -> frozenset[tuple[str, ...]]:
    words = text.split()
    return frozenset(tuple(words[i : i + 5]) for i in range(len(words) - 4))


def brute_jaccard(a: str, b: str) -> float:
    return len(grams(a) & grams(b)) / len(grams(a) | grams(b))


def edited(text: str, rate: float, seed: int) -> str:
    chance = random.Random(seed)
    return " ".join(w if chance.random() > rate else chance.choice(WORDS) for w in text.split())


def test_near_index_equals_brute_force() -> None:
    held = [edited(prose(i % 30), 0.02 * (i // 30), i) for i in range(90)]
    others = [edited(prose(i % 40), 0.0015 * i, 1000 + i) for i in range(120)]
    for threshold in (0.3, 0.6, 0.9):
        near, similarity = NearIndex(pa.array(held, pa.large_string()), threshold).match(
            pa.array(others, pa.large_string())
        )
        truth = np.array([[brute_jaccard(a, b) for b in held] for a in others])
        best = truth.max(axis=1)
        assert (near >= 0).tolist() == (best >= threshold).tolist()
        found = near >= 0
        assert 10 < found.sum() < 120
        assert similarity[found] == pytest.approx(best[found])
        assert truth[found, near[found]] == pytest.approx(best[found])


def test_short_and_wordless_texts_match_only_the_same_words() -> None:
    index = NearIndex(pa.array(["one two", "...", "", "a b c d e"], pa.large_string()), 0.5)
    queries = ["One, two!", "two one", "one", "...", "", "one two three", "a b c d e", "one two one two"]
    near, _ = index.match(pa.array(queries, pa.large_string()))
    assert near.tolist() == [0, -1, -1, -1, -1, -1, 3, -1]


def test_draw_is_a_share_and_does_not_depend_on_shards(tmp_path: Path) -> None:
    rows = [{"text": prose(i, 30)} for i in range(2000)]
    one, counts = do(HeldOut(share=0.1), tmp_path / "o1", corpus=corpus(tmp_path / "c1", rows))
    two, _ = do(HeldOut(share=0.1), tmp_path / "o2", corpus=corpus(tmp_path / "c2", rows, 7))
    assert texts(one, "documents") == texts(two, "documents")
    assert 150 < len(texts(one, "documents")) < 250
    assert counts.kept == len(texts(one, "documents")) and counts.seen == 2000
    other, _ = do(HeldOut(share=0.1, salt="x"), tmp_path / "o3", corpus=corpus(tmp_path / "c3", rows))
    assert len(set(texts(one, "documents")) & set(texts(other, "documents"))) < 60  # 20 expected
    larger, _ = do(HeldOut(share=0.2), tmp_path / "o4", corpus=corpus(tmp_path / "c4", rows))
    assert set(texts(one, "documents")) < set(texts(larger, "documents"))


def test_near_duplicates_inside_the_set_leave_one_and_are_counted(tmp_path: Path) -> None:
    rows = [{"text": prose(i)} for i in range(20)] + [{"text": prose(0).upper() + "!"}, {"text": prose(1) + " more"}]
    held, _ = do(HeldOut(share=1.0), tmp_path / "o", corpus=corpus(tmp_path / "c", rows, 2))
    notes = json.loads((held.path / "held_out.json").read_text())
    near = pl.read_parquet(held.path / "near_duplicates.parquet")
    assert (notes["drawn"], notes["near_duplicates"], notes["documents"]) == (22, 2, 20)
    assert len(texts(held, "documents")) == 20
    assert near["jaccard"].to_list() == pytest.approx([1.0, 116 / 117], abs=0.01)
    first = {document_id("s", row["text"]): row["text"].split()[0].lower() for row in rows}
    stayed = set(pl.read_parquet(held.files("documents")[0])["id"])
    for gone, of in near.select("id", "of").iter_rows():
        assert gone not in stayed and of in stayed and first[gone] == first[of]


def test_caps_take_the_lowest_hashes_and_make_up_for_near_duplicates(tmp_path: Path) -> None:
    rows = [{"text": edited(prose(i % 50), 0.001, i)} for i in range(500)]
    source = corpus(tmp_path / "c", rows, 3)
    whole, _ = do(HeldOut(share=1.0), tmp_path / "whole", corpus=source)
    few, _ = do(HeldOut(share=1.0, documents=30), tmp_path / "few", corpus=source)
    assert texts(few, "documents") == texts(whole, "documents")[:30]
    orders = dict(pl.read_parquet(whole.path / "drawn" / "*.parquet").select("id", "order").iter_rows())
    end = orders[pl.read_parquet(whole.files("documents")[0])["id"][30]]  # the first document beyond the cap
    near = {held: pl.read_parquet(held.path / "near_duplicates.parquet")["id"].to_list() for held in (whole, few)}
    assert near[few] == [name for name in near[whole] if orders[name] < end]
    size = sum(map(len, texts(whole, "documents")[:12]))
    for limit, fitting in ((size - 1, 11), (size, 12)):
        small, _ = do(HeldOut(share=1.0, bytes=limit), tmp_path / f"small{limit}", corpus=source)
        assert texts(small, "documents") == texts(whole, "documents")[:fitting]
    with pytest.raises(InputError, match=r"no document fits into 9 bytes, the first has \d+"):
        do(HeldOut(share=1.0, bytes=9), tmp_path / "none", corpus=source)
    for held in (whole, few, small):
        notes = json.loads((held.path / "held_out.json").read_text())
        assert notes["drawn"] == 500 == notes["near_duplicates"] + notes["beyond_limit"] + notes["documents"]


def test_where_limits_the_draw(tmp_path: Path) -> None:
    rows = [{"text": prose(i), "lang": ("en", "fr", None)[i % 3], "source": "ab"[i % 2]} for i in range(30)]
    source = corpus(tmp_path / "c", rows)
    held, counts = do(HeldOut(share=1.0, where="lang = en and source = a"), tmp_path / "o", corpus=source)
    assert set(texts(held, "documents")) == {r["text"] for r in rows if (r["lang"], r["source"]) == ("en", "a")}
    assert counts.dropped == {"outside_where": 25}
    with pytest.raises(InputError, match="no document that fits `where: lang = de` was drawn"):
        do(HeldOut(share=1.0, where="lang = de"), tmp_path / "none", corpus=source)
    with pytest.raises(ValueError, match="did you mean 'lang'"):
        HeldOut(where="lanng = de")


def test_a_document_without_words_is_not_drawn(tmp_path: Path) -> None:
    rows = [{"text": text, "lang": lang} for text in (prose(1), "... !", "") for lang in ("en", "fr")]
    work = HeldOut(share=1.0, where="lang = en")
    held, counts = do(work, tmp_path / "o", corpus=corpus(tmp_path / "c", rows))
    assert texts(held, "documents") == [prose(1)]
    assert counts.dropped == {"outside_where": 3, "without_words": 2}
    few = HeldOut(share=1e-9, where="lang = en").run({"corpus": Artifact(tmp_path / "c")}, tmp_path / "few", 0)
    assert few.check("few").dropped == {"outside_where": 3, "without_words": 2, "not_drawn": 1}


def test_conditions_on_rows() -> None:
    rows = pa.RecordBatch.from_pylist(
        [
            {"id": "1", "source": "a", "url": None, "lang": "en", "meta": '{"year": 1999, "tag": "x"}'},
            {"id": "2", "source": "b", "url": "u", "lang": None, "meta": '{"year": "late"}'},
            {"id": "3", "source": "a", "url": "u", "lang": "fr", "meta": None},
        ]
    )
    for text, wanted in {
        "lang = en": [1, 0, 0],
        "lang != en": [0, 1, 1],
        "not lang = en": [0, 1, 1],
        "meta.year < 2000": [1, 0, 0],
        "not meta.year < 2000": [0, 1, 1],
        "url is null or meta.tag = x": [1, 0, 0],
        "source in (a) and lang not in (en, de)": [0, 0, 1],
        "lang is null": [0, 1, 0],
    }.items():
        assert mask(parse(text), rows).tolist() == [bool(w) for w in wanted], text


def test_training_side_holds_nothing_near_the_held_out_set(tmp_path: Path) -> None:
    rows = [{"text": edited(prose(i % 120), (0.0, 0.01, 0.05, 0.2)[i // 120], i)} for i in range(480)]
    source = corpus(tmp_path / "c", rows, 4)
    held, _ = do(HeldOut(share=0.2), tmp_path / "h", corpus=source)
    side, counts = do(TrainSplit(threshold=0.7), tmp_path / "t", corpus=source, held_out=held)
    kept, gone = texts(side, "kept"), texts(side, "dropped")
    assert sorted(kept + gone) == sorted(r["text"] for r in rows)
    assert [t for t in (r["text"] for r in rows) if t in set(kept)] == kept
    assert max(brute_jaccard(a, b) for a in kept for b in texts(held, "documents")) < 0.7
    assert min(max(brute_jaccard(a, b) for b in texts(held, "documents")) for a in gone) >= 0.7
    assert counts.dropped["held_out"] >= len(texts(held, "documents"))
    assert counts.dropped["near_held_out"] > 0
    dropped = pl.concat([pl.read_parquet(file) for file in side.files("dropped")])
    assert dropped["held_out_id"].null_count() == 0
    assert dropped.filter(pl.col("reason") == "near_held_out")["jaccard"].min() >= 0.7  # type: ignore[operator]


def test_an_edited_held_out_document_is_known_by_its_id(tmp_path: Path) -> None:
    held = corpus(tmp_path / "h", [{"text": prose(1), "id": "same"}])
    (held.path / "kept").rename(held.path / "documents")
    rows = [{"text": prose(2), "id": "same"}, {"text": prose(3), "id": "other"}]
    side, counts = do(TrainSplit(), tmp_path / "t", corpus=corpus(tmp_path / "c", rows), held_out=held)
    assert texts(side, "kept") == [prose(3)]
    assert counts.dropped == {"held_out": 1}
    (dropped,) = pl.read_parquet(side.files("dropped")[0]).to_dicts()
    assert (dropped["held_out_id"], dropped["jaccard"]) == ("same", 0)


def test_the_same_words_are_the_same_document_and_no_words_are_none(tmp_path: Path) -> None:
    held = corpus(tmp_path / "h", [{"text": prose(1)}, {"text": "..."}])
    (held.path / "kept").rename(held.path / "documents")
    near, far = prose(1) + " " + prose(8, 20), prose(1) + " " + prose(9, 60)  # Jaccard 116 / 136 and 116 / 176
    rows = [{"text": prose(1).title() + "!"}, {"text": near}, {"text": far}, {"text": "?!"}]
    side, counts = do(TrainSplit(), tmp_path / "t", corpus=corpus(tmp_path / "c", rows), held_out=held)
    dropped = pl.read_parquet(side.files("dropped")[0])
    assert dropped["reason"].to_list() == ["held_out", "near_held_out"]
    assert texts(side, "kept") == [far, "?!"]
    assert counts.bytes == len(far) + 2


def test_extra_columns_of_a_corpus_are_left_behind(tmp_path: Path) -> None:
    source = corpus(tmp_path / "c", [{"text": prose(i)} for i in range(9)])
    file = source.files("kept")[0]
    table = pq.read_table(file)
    pq.write_table(table.append_column("why", pa.array([{"words": 3}] * 9)), file)
    held, _ = do(HeldOut(share=0.5), tmp_path / "h", corpus=source)
    side, _ = do(TrainSplit(), tmp_path / "t", corpus=source, held_out=held)
    for name, artifact in (("documents", held), ("kept", side)):
        assert pq.read_schema(artifact.files(name)[0]).names == DOCUMENT.names
