"""Deduplication of a user's own files: columns stay, nothing vanishes, what is broken is counted."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.files.dedup import dedup_files
from windtunnel.pipelines.files.output import STEPS
from windtunnel.schemas.errors import InputError, RecipeError, WindtunnelError
from windtunnel.schemas.work import Counts

WORDS = ["".join(chr(97 + i // 18**k % 18) for k in range(3)) for i in range(5000)]


def prose(seed: int, words: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def kept(out: Path, folder: str = "kept") -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file) for file in sorted((out / folder).glob("*.parquet"))])


def test_parquet_columns_stay_as_they_were(tmp_path: Path) -> None:
    table = pa.table(
        {
            "n": pa.array([1, 2, 3, 4], pa.int16()),
            "text": [prose(1), prose(2), prose(1) + " end", None],
            "tags": [["a"], [], None, ["b"]],
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    totals = dedup_files(tmp_path / "in.parquet", tmp_path / "out", "minhash")
    assert totals == Counts(seen=4, kept=2, dropped={"minhash": 1}, unreadable={"no_text": 1})
    assert kept(tmp_path / "out")["n"].to_list() == [1, 2]
    assert kept(tmp_path / "out").schema["n"] == pl.Int16
    gone = kept(tmp_path / "out", "dropped")
    assert gone["reason"].to_list() == ["minhash"]
    assert gone["why"].to_list() == [{"minhash_cluster": 0, "minhash_cluster_size": 2}]
    assert not (tmp_path / "out" / STEPS).exists()


def test_jsonl_of_mixed_types_and_broken_lines(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "a b", "score": 1, "x": {"k": 1}},
        {"text": "a b", "score": 2.5, "x": "s"},
        {"text": "c", "more": [1]},
    ]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "in.jsonl").write_text("\n".join([lines[0], "{broken", lines[1], "", '{"no": 1}', lines[2]]))
    kind = {"exact": {"keep": "highest score"}}
    totals = dedup_files(tmp_path / "in.jsonl", tmp_path / "out", kind)
    assert totals == Counts(seen=5, kept=2, dropped={"exact": 1}, unreadable={"invalid_json": 1, "no_text": 1})
    assert kept(tmp_path / "out")["score"].to_list() == [2.5, None]
    assert kept(tmp_path / "out")["x"].to_list() == ["s", None]
    unreadable = kept(tmp_path / "out", "unreadable")
    assert sorted(unreadable["error"].to_list()) == ["invalid_json", "no_text"]


def test_any_column_and_text_edits_and_an_index(tmp_path: Path) -> None:
    rows = pl.DataFrame({"body": [prose(1), prose(2), prose(3)], "key": [7, 7, 8]})
    (tmp_path / "in").mkdir()
    rows.write_parquet(tmp_path / "in" / "a.parquet")
    dedup_files(tmp_path / "in", tmp_path / "by", {"exact": "key"}, text="body")
    assert kept(tmp_path / "by")["key"].to_list() == [7, 8]
    dedup_files(tmp_path / "in", tmp_path / "first", "minhash", text="body", save_index=tmp_path / "index")
    new = pl.DataFrame({"body": [prose(3), prose(9), prose(1).split(" ", 5)[5] + " " + prose(8)], "key": [1, 2, 3]})
    new.write_parquet(tmp_path / "new.parquet")
    kind = {"minhash": {"index": str(tmp_path / "index")}}
    dedup_files(tmp_path / "new.parquet", tmp_path / "second", kind, text="body")
    assert kept(tmp_path / "second")["key"].to_list() == [2, 3]
    both = pl.concat([rows, new])
    both.write_parquet(tmp_path / "both.parquet")
    dedup_files(tmp_path / "both.parquet", tmp_path / "cut", {"substring": {"min_words": 10}}, text="body")
    assert kept(tmp_path / "cut")["body"].to_list() == [prose(1), prose(2), prose(3), prose(9), prose(8)]


@pytest.mark.parametrize("kind", ["line", "paragraph", "substring"])
def test_a_method_without_keys_refuses_to_save_an_index_before_the_work(tmp_path: Path, kind: str) -> None:
    pl.DataFrame({"text": [prose(1)]}).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(RecipeError, match=f"{kind} as given here makes no keys"):
        dedup_files(tmp_path / "in.parquet", tmp_path / "out", kind, save_index=tmp_path / "index")
    assert not (tmp_path / "out").exists() and not (tmp_path / "index").exists()


def test_an_index_is_not_written_over_and_an_interrupted_copy_is_taken_up(tmp_path: Path) -> None:
    pl.DataFrame({"text": [prose(1), prose(2)]}).write_parquet(tmp_path / "in.parquet")
    index = tmp_path / "index"
    index.mkdir()
    (tmp_path / ".index.partial" / "keys").mkdir(parents=True)
    (tmp_path / ".index.partial" / "keys" / "00007.arrow").write_text("half")
    dedup_files(tmp_path / "in.parquet", tmp_path / "one", "exact", save_index=index)
    assert sorted(p.name for p in index.rglob("*")) == ["00000.arrow", "index.json", "keys"]
    before = (index / "index.json").read_bytes()
    with pytest.raises(RecipeError, match="index exists and is not empty"):
        dedup_files(tmp_path / "in.parquet", tmp_path / "two", "exact", save_index=index)
    for inside in (Path("two"), Path("two") / "index", Path()):
        with pytest.raises(RecipeError, match="lie in one another"):
            dedup_files(tmp_path / "in.parquet", tmp_path / "two", "exact", save_index=tmp_path / inside)
    assert not (tmp_path / "two").exists() and (index / "index.json").read_bytes() == before
    third = {"exact": {"index": [str(index), str(index)]}}
    assert dedup_files(tmp_path / "in.parquet", tmp_path / "three", third).dropped == {"exact": 2}


def test_a_column_that_no_line_has_is_said_and_one_that_some_lack_is_not(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a", "group": 1}\n{"text": "b"}\n{"text": "c", "group": 1}\n')
    with pytest.raises(WindtunnelError, match=r"no line has a field 'grup'.*did you mean 'group'"):
        dedup_files(tmp_path / "in.jsonl", tmp_path / "out", {"exact": "grup"})
    assert dedup_files(tmp_path / "in.jsonl", tmp_path / "out2", {"exact": "group"}).dropped == {"exact": 1}


def test_wrong_arguments_say_what_is_right(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["a"], "n": [1]}).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(RecipeError, match="did you mean 'minhash'"):
        dedup_files(tmp_path / "in.parquet", tmp_path / "out", "minhsh")
    with pytest.raises(InputError, match="did you mean 'text'"):
        dedup_files(tmp_path / "in.parquet", tmp_path / "out", "exact", text="texts")
    with pytest.raises(RecipeError, match="nothing is measured before"):
        dedup_files(tmp_path / "in.parquet", tmp_path / "out", {"exact": {"keep": "highest why.quality"}})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep me")
    with pytest.raises(RecipeError, match="is not empty"):
        dedup_files(tmp_path / "in.parquet", tmp_path / "out", "exact")
    (tmp_path / "half.parquet").write_bytes((tmp_path / "in.parquet").read_bytes()[:-20])
    with pytest.raises(InputError, match="not a whole Parquet file"):
        dedup_files(tmp_path / "half.parquet", tmp_path / "out2", "exact")
