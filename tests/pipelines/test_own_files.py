"""Filter and dedup on files of one's own: in parts of bounded size, one after the other, and on input as it comes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.files import user_columns
from windtunnel.pipelines.files import user_files as user_rows
from windtunnel.pipelines.files.dedup import dedup_files
from windtunnel.pipelines.files.filter import filter_files
from windtunnel.pipelines.readers import row_groups
from windtunnel.pipelines.shards.split import with_columns, with_why
from windtunnel.pipelines.sources import jsonl, parquet
from windtunnel.schemas.errors import InputError, WindtunnelError
from windtunnel.schemas.work import Counts

SHORT = [{"length": {"min_words": 3}}]


def rows_of(out: Path, folder: str = "kept") -> pl.DataFrame:
    return pl.read_parquet(out / folder / "*.parquet")


def test_each_command_reads_what_the_other_has_kept(tmp_path: Path) -> None:
    words = ["a b c d", "a b c d", "e f", "g h i j k"]
    table = pa.table({"text": words, "n": [1, 2, 3, 4], "reason": ["r1", "r2", "r3", "r4"]})
    pq.write_table(table, tmp_path / "in.parquet")
    first, second = tmp_path / "first", tmp_path / "second"
    filter_files(tmp_path / "in.parquet", first, SHORT)
    with pytest.raises(InputError, match=r"dropped rows and all: name .*first/kept"):
        dedup_files(first, second, "exact")
    dedup_files(first / "kept", second, "exact")
    kept, dropped = rows_of(second), rows_of(second, "dropped")
    assert kept.columns == ["text", "n", "reason", "why"]
    assert [why["words"] for why in kept["why"]] == [4, 5], "what the filter measured is still there"
    assert [why["exact_cluster_size"] for why in kept["why"]] == [2, 1]
    assert dropped.select("n", "reason", "reason_before").rows() == [(2, "exact", "r2")]


def test_a_why_of_ones_own_that_is_no_struct_goes_on_under_another_name(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["a b c d", "e"], "why": ["mine", "too"]}).write_parquet(tmp_path / "in.parquet")
    filter_files(tmp_path / "in.parquet", tmp_path / "out", SHORT)
    assert rows_of(tmp_path / "out")["why_before"].to_list() == ["mine"]
    assert rows_of(tmp_path / "out")["why"].to_list()[0]["words"] == 4
    assert rows_of(tmp_path / "out", "dropped")["why_before"].to_list() == ["too"]


def test_a_reason_from_before_has_a_name_that_is_free() -> None:
    rows = with_columns(pa.table({"reason": ["b"], "reason_before": ["a"]}), pa.table({"reason": ["c"]}))
    assert rows.to_pylist() == [{"reason": "c", "reason_before": "a", "reason_before_before": "b"}]


def test_values_measured_again_go_over_the_old_ones_where_there_are_any() -> None:
    old = pa.array([{"words": 1, "other": "x"}, {"words": 2, "other": "y"}, None])
    rows = with_why(pa.table({"why": old}), pl.DataFrame({"words": [7, None, 9], "new": [0.5, 1.5, None]}))
    assert rows["why"].to_pylist() == [
        {"words": 7, "other": "x", "new": 0.5},
        {"words": 2, "other": "y", "new": 1.5},
        {"words": 9, "other": None, "new": None},
    ]


def test_a_damaged_row_group_loses_its_own_rows_only_and_all_of_them_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    table = pa.table({"text": [f"row {i} has words" for i in range(40)], "n": range(40)})
    pq.write_table(table, path, row_group_size=10, compression="none", use_dictionary=False)
    chunk = pq.read_metadata(path).row_group(2).column(0)
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset : chunk.data_page_offset + 30] = b"\xff" * 30
    path.write_bytes(data)
    totals = filter_files(path, tmp_path / "out", SHORT)
    assert totals == Counts(seen=40, kept=30, unreadable={"broken_row_group": 10})
    assert rows_of(tmp_path / "out")["n"].to_list() == [*range(20), *range(30, 40)]
    assert "rows 0 to 9 of row group 2" in rows_of(tmp_path / "out", "unreadable")["detail"][0]


def test_rows_that_are_not_utf8_are_counted_and_those_around_them_stay(tmp_path: Path) -> None:
    spoilt = pa.array([b"a b c d", b"\xff\xfe no", None, b"", b"e f g h"]).view(pa.string())
    ids = pa.array([b"one", b"two", b"three", b"four", b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"text": spoilt, "id": ids}), tmp_path / "in.parquet")
    totals = filter_files(tmp_path / "in.parquet", tmp_path / "out", SHORT)
    assert totals == Counts(seen=5, kept=2, unreadable={"empty_text": 1, "invalid_utf8": 1, "no_text": 1})


def test_json_lines_with_values_that_no_column_type_holds(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"text": "a b c d", "metadata": {}, "id": {"run": 1}, "source": ["x"], "url": {"a": 1}, "deep": [{"k": {}}]},
        {"text": "a b c e", "metadata": {}, "id": {"run": 2}, "big": 2**60 + 1, "wide": -1, "part": 1},
        {"text": "a b c f", "big": 0.5, "part": 0.5, "wide": 2**63, "metadata": None},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    totals = filter_files(tmp_path / "in.jsonl", tmp_path / "out", SHORT)
    assert totals == Counts(seen=3, kept=3)
    found = rows_of(tmp_path / "out")
    assert found["metadata"].to_list() == ["{}", "{}", None]
    assert found["id"].to_list() == [{"run": 1}, {"run": 2}, None]
    assert found["deep"].to_list() == ['[{"k":{}}]', None, None]
    assert found["wide"].to_list() == [None, "-1", str(2**63)]
    assert found["big"].to_list() == [None, str(2**60 + 1), "0.5"]
    assert found["part"].to_list() == [None, 1.0, 0.5]


@pytest.mark.parametrize("levels", [40, 120, 240])
def test_json_lines_nested_deeper_than_parquet_goes_are_kept_as_json(tmp_path: Path, levels: int) -> None:
    nested = '{"a":' * levels + "1" + "}" * levels
    (tmp_path / "in.jsonl").write_text('{"text": "one two three", "deep": ' + nested + "}\n")
    filter_files(tmp_path / "in.jsonl", tmp_path / "out", ["length"])
    (row,) = pl.concat([pl.read_parquet(f) for f in (tmp_path / "out").glob("*/*.parquet")], how="diagonal").to_dicts()
    assert row["deep"] == nested


def test_text_with_a_dictionary_is_text_also_where_it_is_edited(tmp_path: Path) -> None:
    words = ["write to ann@example.org", "nothing to hide here"]
    table = pa.table({"text": pa.array(words).dictionary_encode(), "kind": pa.array(["x", "y"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "in.parquet")
    filter_files(tmp_path / "in.parquet", tmp_path / "out", ["pii"])
    found = rows_of(tmp_path / "out")
    assert found["text"][1] == words[1] and "ann@" not in found["text"][0]
    assert found["kind"].to_list() == ["x", "y"]


def test_string_views_are_strings_in_every_column(tmp_path: Path) -> None:
    view, nested = pa.string_view(), pa.struct([("x", pa.string_view())])
    columns = {
        "text": pa.array(["a b c d", "e", None, "a b c d"], view),
        "note": pa.array(["x", None, "y", "z"], view),
        "more": pa.array([{"x": "deep"}, None, {"x": None}, {"x": "too"}], nested),
        "bytes": pa.array([b"\xff", b"", None, b"\xff"], pa.binary_view()),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    totals = filter_files(tmp_path / "in.parquet", tmp_path / "out", SHORT)
    assert totals == Counts(seen=4, kept=2, dropped={"length.too_few_words": 1}, unreadable={"no_text": 1})
    kept = pq.read_table(tmp_path / "out" / "kept").drop_columns("why").to_pylist()
    row = {"text": "a b c d", "note": "x", "more": {"x": "deep"}, "bytes": b"\xff"}
    assert kept == [row, {**row, "note": "z", "more": {"x": "too"}}]
    by_note = {"exact": {"keep": "highest note"}}
    assert dedup_files(tmp_path / "in.parquet", tmp_path / "out2", by_note).dropped == {"exact": 1}


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_file_without_the_text_column_names_the_option(tmp_path: Path, name: str) -> None:
    if name == "a.jsonl":
        (tmp_path / name).write_text('{"body": "x"}\n', encoding="utf-8")
    else:
        pq.write_table(pa.table({"body": ["x"]}), tmp_path / name)
    with pytest.raises(InputError, match=r"has no column 'text'.*`--text COLUMN`$"):
        filter_files(tmp_path / name, tmp_path / "out", ["length"])


def test_files_that_are_neither_parquet_nor_json_lines_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,n\na b c,1\n")
    with pytest.raises(InputError, match="neither Parquet, Arrow, JSON lines nor WARC"):
        filter_files(tmp_path / "in.csv", tmp_path / "out", SHORT)
    (tmp_path / "in.parquet.gz").write_bytes(b"")
    with pytest.raises(InputError, match="unpack it"):
        dedup_files(tmp_path / "in.parquet.gz", tmp_path / "out", "exact")
    pl.DataFrame({"text": [1]}).write_parquet(tmp_path / "n.parquet")
    with pytest.raises(InputError, match="holds int64, not text"):
        filter_files(tmp_path / "n.parquet", tmp_path / "out", SHORT)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (parquet, jsonl):
        monkeypatch.setattr(module, "SPLIT_BYTES", 4096)


@pytest.mark.slow  # starts workers again and again
@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl"])
def test_a_large_file_is_read_in_parts_and_comes_out_the_same(tmp_path: Path, name: str, small_parts: None) -> None:
    rows = pl.DataFrame({"text": [f"{i % 300} has a few words" if i % 7 else "short" for i in range(600)]})
    rows = rows.with_columns(n=pl.int_range(pl.len()), late=pl.when(pl.int_range(pl.len()) == 599).then(pl.lit("x")))
    if name == "in.parquet":
        rows.write_parquet(tmp_path / name, row_group_size=250)
    else:
        rows.write_ndjson(tmp_path / name)
    assert user_rows.user_rows(tmp_path / name).work.shards({}) > 1
    totals = filter_files(tmp_path / name, tmp_path / "out", SHORT)
    assert totals == Counts(seen=600, kept=514, dropped={"length.too_few_words": 86})
    files = sorted((tmp_path / "out" / "kept").glob("*.parquet"))
    assert len(files) >= 3 and len({pq.read_schema(file).to_string() for file in files}) == 1
    assert rows_of(tmp_path / "out")["n"].to_list() == [i for i in range(600) if i % 7]
    assert dedup_files(tmp_path / name, tmp_path / "d", "exact").kept == len(set(rows["text"]))
    kept = rows_of(tmp_path / "d")["n"].to_list()
    assert kept == rows.unique("text", keep="first", maintain_order=True)["n"].to_list(), "the first ones, in order"


def test_one_row_group_becomes_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_groups, "BATCH_ROWS", 50)
    monkeypatch.setattr(user_rows, "SHARD_ROWS", 100)
    pl.DataFrame({"text": [f"row {i}" for i in range(230)]}).write_parquet(tmp_path / "in.parquet")
    step = user_rows.user_rows(tmp_path / "in.parquet")
    assert step.work.run({}, tmp_path / "out", 0).kept == 230
    for folder in ("rows", "documents"):
        files = sorted((tmp_path / "out" / folder).iterdir())
        assert [file.name for file in files] == [f"00000-0000{i}.parquet" for i in range(3)]
        assert [pq.read_metadata(file).num_rows for file in files] == [100, 100, 30]
        assert [text for file in files for text in pq.read_table(file)["text"].to_pylist()][229] == "row 229"


def test_a_method_that_compares_within_a_shard_gets_a_file_as_one(tmp_path: Path, small_parts: None) -> None:
    said = " ".join(f"w{i}" for i in range(80))
    texts = [said, *(f"row {i} says {i * i}" for i in range(400)), "first this " + said]
    pl.DataFrame({"text": texts}).write_parquet(tmp_path / "in.parquet", row_group_size=50)
    dedup_files(tmp_path / "in.parquet", tmp_path / "out", {"substring": {"min_words": 1}})
    assert rows_of(tmp_path / "out")["text"][-1] == "first this"


def test_records_of_very_many_fields_are_counted_and_very_many_columns_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_columns, "MOST_COLUMNS", 50)
    lines = [{"text": "a b c", "n": 1}, {"text": "d e f", **{f"k{i}": i for i in range(60)}}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    totals = filter_files(tmp_path / "in.jsonl", tmp_path / "out", SHORT)
    assert totals == Counts(seen=2, kept=1, unreadable={"too_many_fields": 1})
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps({"text": "a b c", f"k{i}": i}) for i in range(60)))
    with pytest.raises(WindtunnelError, match="more than 50 different fields"):
        filter_files(tmp_path / "in.jsonl", tmp_path / "out2", SHORT)


def test_twenty_thousand_fields_take_no_quadratic_time() -> None:
    started = time.process_time()
    records = [{f"k{i}": i for i in range(number, number + 1000)} for number in range(0, 20_000, 100)]
    assert len(user_columns.schema_of(records)) == 20_900
    assert time.process_time() - started < 5
