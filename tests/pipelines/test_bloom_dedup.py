"""Lines and paragraphs through a Bloom filter."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.dedup._dedup import Dedup
from windtunnel.pipelines.dedup.line import Line
from windtunnel.pipelines.dedup.paragraph import Paragraph
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.records import DOCUMENT, document_id
from windtunnel.schemas.work import Counts, Work

WORDS = ["".join(chr(97 + i // 18**k % 18) for k in range(3)) for i in range(5000)]


def prose(seed: int, words: int = 40) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def run(root: Path, method: Dedup, texts: list[str], shards: int = 1) -> tuple[list[str | None], Counts]:
    size = -(-len(texts) // shards) or 1
    (root / "in" / "documents").mkdir(parents=True)
    for shard in range(shards):
        part = [
            {"id": document_id("s", f"{t}{shard * size + i}"), "text": t, "source": "s"}
            for i, t in enumerate(texts[shard * size : (shard + 1) * size])
        ]
        rows = [{"url": None, "lang": None, "meta": None, **row} for row in part]
        pq.write_table(pa.Table.from_pylist(rows, DOCUMENT), root / "in" / "documents" / f"{shard:05d}.parquet")
    counts: list[Counts] = []

    def add(name: str, work: Work, inputs: Mapping[str, Any]) -> Artifact:
        work = type(work).model_validate_json(work.model_dump_json())
        (root / "out").mkdir()
        counts.extend(work.run(inputs, root / "out", rank).check(name) for rank in range(work.shards(inputs)))
        return Artifact(root / "out")

    done = method.steps(add, "c", Artifact(root / "in"), None)
    after = pl.concat([pl.read_parquet(file) for file in done.files("documents")])
    decided = pl.concat([pl.read_parquet(file) for file in done.files("decisions")])
    assert after["id"].to_list() == decided["id"].to_list()
    pairs = zip(after["text"].to_list(), decided["reason"].to_list(), strict=True)
    return [None if reason else text for text, reason in pairs], Counts.total(counts)


def test_lines_stay_where_they_stand_first(tmp_path: Path) -> None:
    texts = ["Share this!\nnew one\n\nnew two", "new three\nshare THIS\n  new ONE  \nend", "share this", "x\n\nx\ny"]
    after, counts = run(tmp_path, Line(), texts, shards=2)
    assert after == [texts[0], "new three\nend", None, "x\n\ny"]
    assert counts.dropped == {"line": 1}
    assert counts.notes["documents_cut"] == 2 and counts.notes["units_cut"] == 3


def test_short_lines_can_be_left_alone(tmp_path: Path) -> None:
    texts = ["}\na b c\n}", "}\nA B C\nd"]
    assert run(tmp_path, Line(shortest=2), texts)[0] == [texts[0], "}\nd"]


def test_paragraphs_with_most_ngrams_known_go_and_whole_documents_too(tmp_path: Path) -> None:
    old = prose(1, 60)
    nearly = " ".join([*old.split()[:57], "new", "words", "here"])  # 45 of 48 n-grams known
    halfway = " ".join(old.split()[:36] + prose(2, 24).split())  # half of them
    texts = [
        old,
        f"{prose(3, 80)}\n\n{nearly}\n\n{prose(4, 80)}",
        f"{prose(5, 80)}\n\n{halfway}",
        f"{nearly}\n\ntoo short to be judged",
    ]
    after, counts = run(tmp_path / "both", Paragraph(), texts)
    assert after == [old, f"{prose(3, 80)}\n\n{prose(4, 80)}", texts[2], None]
    assert counts.dropped == {"paragraph": 1}
    after, _ = run(tmp_path / "parts", Paragraph(whole=False), texts)
    assert after[3] == "too short to be judged"


def test_false_positives_stay_below_what_was_asked(tmp_path: Path) -> None:
    texts = [prose(i, 200) for i in range(200)]
    method = Line(false_positives=0.02, expected=20_000)
    lines = ["\n".join(t.split()[i] + f" {WORDS[j]} {WORDS[i]}" for i in range(100)) for j, t in enumerate(texts)]
    known = {line for text in lines for line in text.split("\n")}
    after, counts = run(tmp_path, method, lines)
    kept = sum(len(t.split("\n")) for t in after if t)
    wrong = (len(known) - kept) / len(known)
    assert 0 <= wrong < 0.02
    assert counts.notes["most_false_positives_ppm"] < 20_000


def test_filters_cut_the_corpus_into_runs(tmp_path: Path) -> None:
    texts = ["a b c"] * 8
    one, _ = run(tmp_path / "1", Line(), texts, shards=4)
    two, _ = run(tmp_path / "2", Line(filters=2), texts, shards=4)
    assert [t is None for t in one] == [False] + [True] * 7
    assert [t is None for t in two] == [False, True, True, True] * 2


def test_a_filter_that_would_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="raise `megabytes`"):
        run(tmp_path, Line(expected=10**9, megabytes=64), ["a b c"])


def test_the_filter_itself_forgets_nothing() -> None:
    from windtunnel.pipelines.features.kernels.bloom import probe

    bits, keys = np.zeros(1 << 12, np.uint64), np.random.default_rng(1).integers(0, 1 << 63, 20_000, np.uint64)
    for key in keys[:10_000]:
        probe(bits, 7, key, True)
    assert all(probe(bits, 7, key, False) for key in keys[:10_000])
    assert sum(probe(bits, 7, key, False) for key in keys[10_000:]) < 150  # 1 % would be 100
