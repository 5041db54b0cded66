"""Sources against good and bad files: nothing vanishes, whatever is wrong has a reason, memory is bounded."""

import bz2
import gzip
import json
import lzma
import tracemalloc
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from windtunnel.pipelines.readers import streams
from windtunnel.pipelines.readers.paths import origin_of
from windtunnel.pipelines.sources._read import read_work
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.records import DOCUMENT, UNREADABLE, document_id
from windtunnel.schemas.work import Counts


@pytest.fixture
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


def run(spec, out):
    """Read a source to its end; return (documents, unreadable) as rows and the counts."""
    work = read_work(spec)
    counts = Counts.total([work.run({}, out, rank) for rank in range(work.shards({}))])
    work.finish({}, out)
    tables = [pa.concat_tables([pq.read_table(f) for f in sorted((out / d).glob("*.parquet"))]) for d in FOLDERS]
    assert tables[0].schema.equals(DOCUMENT)
    assert tables[1].schema.equals(UNREADABLE)
    documents, unreadable = (table.to_pylist() for table in tables)
    assert counts.kept == len(documents)
    assert sum(counts.unreadable.values()) == sum(u["rows"] for u in unreadable)
    assert counts.seen == counts.kept + sum(u["rows"] for u in unreadable)
    assert counts.bytes == sum(len(d["text"].encode()) for d in documents)
    return documents, unreadable, counts


FOLDERS = ("documents", "unreadable")


def jsonl(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


ROWS = [{"text": f"document number {i}", "url": f"https://a.example/{i}", "lang": "en", "views": i} for i in range(50)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_jsonl_plain_and_compressed_gives_the_same_documents(tmp_path, pack, out):
    (tmp_path / "news-00001.jsonl").write_bytes(pack(jsonl(ROWS)))
    documents, unreadable, _ = run({"jsonl": str(tmp_path)}, out / "out")
    assert [d["text"] for d in documents] == [r["text"] for r in ROWS]
    assert documents[3] == {
        "id": document_id("news", "document number 3"),
        "text": "document number 3",
        "source": "news",
        "url": "https://a.example/3",
        "lang": "en",
        "meta": '{"views":3}',
    }
    assert not unreadable


def test_jsonl_fields_by_name_and_what_is_carried(tmp_path, out):
    row = {"content": "a", "link": "u", "site": "blog", "text": "not this", "n": {"deep": [1, None]}, "id": "mine"}
    (tmp_path / "x.jsonl").write_bytes(jsonl([row]))
    spec = {"path": str(tmp_path / "x.jsonl"), "text": "content", "url": "link", "source": "site"}
    (document,), _, _ = run({"jsonl": spec}, out / "out")
    assert (document["text"], document["url"], document["source"]) == ("a", "u", "blog")
    assert json.loads(document["meta"]) == {"text": "not this", "n": {"deep": [1, None]}, "id": "mine"}
    (document,), _, _ = run({"jsonl": {**spec, "meta": ["id"], "name": "fixed"}}, out / "out2")
    assert json.loads(document["meta"]) == {"id": "mine"}
    (document,), _, _ = run({"jsonl": {**spec, "meta": False, "source": None, "name": "fixed"}}, out / "out3")
    assert (document["meta"], document["source"]) == (None, "fixed")


def test_every_bad_line_is_counted_with_its_reason_and_the_good_ones_are_kept(tmp_path, out):
    lines = [
        b'{"text": "first"}',
        b"",  # a blank line is no record
        b'{"text": "cut',
        b'{"text": "bad \xff\xfe byte"}',
        b'["a", "list"]',
        b'"a string"',
        b'{"other": 1}',
        b'{"text": null}',
        b'{"text": 7}',
        b'{"text": ""}',
        b'{"text": "half \\ud83d of a pair"}',
        b"\x00\x00\x00\x00",
        b'{"text": "nul \\u0000 inside"}',
        b'{"text": "pair \\ud83d\\ude00"}\r',
        b"[" * 100_000,
        b'{"text": "last"}',
    ]
    (tmp_path / "bad.jsonl").write_bytes(b"\n".join(lines))
    documents, unreadable, counts = run({"jsonl": str(tmp_path / "bad.jsonl")}, out / "out")
    assert [d["text"] for d in documents] == ["first", "nul \x00 inside", "pair 😀", "last"]
    assert [(u["where"], u["error"]) for u in unreadable] == [
        ("bad.jsonl:3", "invalid_json"),
        ("bad.jsonl:4", "invalid_utf8"),
        ("bad.jsonl:5", "not_an_object"),
        ("bad.jsonl:6", "not_an_object"),
        ("bad.jsonl:7", "no_text"),
        ("bad.jsonl:8", "no_text"),
        ("bad.jsonl:9", "text_not_string"),
        ("bad.jsonl:10", "empty_text"),
        ("bad.jsonl:11", "lone_surrogate"),
        ("bad.jsonl:12", "nul_bytes"),
        ("bad.jsonl:15", "invalid_json"),
    ]
    assert counts.seen == 15
    spec = {"path": str(tmp_path / "bad.jsonl"), "errors": "replace"}
    documents, _, _ = run({"jsonl": spec}, out / "replaced")
    assert [d["text"] for d in documents][1:3] == ["bad �� byte", "half � of a pair"]


def test_a_line_whose_other_fields_cannot_be_written_is_counted_and_does_not_stop_the_corpus(tmp_path, out):
    deep = b"[" * 300 + b"NaN" + b"]" * 300  # NaN: orjson leaves such a line to the json module, which takes more
    bad = [
        b'{"text": "a", "note": "\\ud800"}',
        b'{"text": "b", "\\udfff": 1}',
        b'{"text": "c", "url": "http://a.example/\\ud800"}',
        b'{"text": "d", "lang": "\\ud800"}',
        b'{"text": "e", "site": "\\ud800"}',
        b'{"text": "f", "in": {"list": ["\\ud800"]}}',
        b'{"text": "g", "deep": ' + deep + b"}",
        b'{"text": "h", "x": NaN, "big": 36893488147419103232}',
    ]
    (tmp_path / "odd.jsonl").write_bytes(b"\n".join([b'{"text": "first", "site": "s"}', *bad, b'{"text": "last"}']))
    spec = {"path": str(tmp_path / "odd.jsonl"), "source": "site"}
    documents, unreadable, counts = run({"jsonl": spec}, out / "out")
    assert [d["text"] for d in documents] == ["first", "last"]
    assert [u["where"] for u in unreadable] == [f"odd.jsonl:{n}" for n in range(2, 10)]
    assert {u["error"] for u in unreadable} == {"unusable_field"} and counts.seen == 10
    fields = ["note", "\udfff", "url", "lang", "site", "in", "deep", "big"]
    assert [u["detail"].partition(": ")[0] for u in unreadable] == [repr(name) for name in fields]
    documents, unreadable, _ = run({"jsonl": {**spec, "errors": "replace"}}, out / "replaced")
    assert "".join(d["text"] for d in documents) == "firstabcdeflast"  # half pairs have a replacement, the rest none
    assert documents[1]["meta"] == '{"note":"\ufffd"}' and documents[5]["source"] == "\ufffd"
    assert [u["where"] for u in unreadable] == ["odd.jsonl:8", "odd.jsonl:9"]
    documents, unreadable, _ = run({"jsonl": {"path": spec["path"], "meta": ["other"]}}, out / "few")
    assert "".join(d["text"] for d in documents) == "firstabefghlast"  # what is not carried need not be good


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gzip", "zst"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_broken_archive_gives_its_readable_prefix_and_one_count(tmp_path, pack, damage, out):
    parts = [jsonl([{"text": f"{i} " * 2000}]) for i in range(2000)]
    packed = [pack(b"".join(parts[:1000])), pack(b"".join(parts[1000:]))]
    if damage == "cut":
        data = packed[0] + packed[1][: len(packed[1]) // 2]
    else:
        middle = len(packed[1]) // 2
        data = packed[0] + packed[1][:middle] + bytes(64) + packed[1][middle + 64 :]
    (tmp_path / "b.jsonl.gz").write_bytes(data)  # the bytes say what it is, not the name
    documents, unreadable, counts = run({"jsonl": str(tmp_path)}, out / "out")
    assert [d["text"].split()[0] for d in documents] == [str(i) for i in range(len(documents))]
    assert len(documents) >= (1300 if damage == "cut" else 1000)
    last = unreadable[-1]
    assert last["error"] in ("broken_gzip", "broken_zst")
    assert counts.unreadable[last["error"]] == 1
    assert last["where"].startswith("b.jsonl.gz:")


def test_a_huge_line_is_read_up_to_the_cap_and_counted_above_it_in_bounded_memory(tmp_path, out):
    path = tmp_path / "long.jsonl"
    with path.open("wb") as handle:
        handle.write(b'{"text": "before"}\n{"text": "')
        for _ in range(120):
            handle.write(b"x" * (1 << 20))
        handle.write(b'"}\n{"text": "after"}\n')
    tracemalloc.start()
    documents, unreadable, _ = run({"jsonl": {"path": str(path), "max_document_bytes": 8 << 20}}, out / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [d["text"] for d in documents] == ["before", "after"]
    assert [(u["where"], u["error"]) for u in unreadable] == [("long.jsonl:2", "too_large")]
    assert peak < 24 << 20
    documents, unreadable, _ = run({"jsonl": {"path": str(path), "max_document_bytes": 128 << 20}}, out / "out2")
    assert [len(d["text"]) for d in documents] == [6, 120 << 20, 5]
    assert not unreadable


def test_ranges_of_a_large_file_give_every_line_once(tmp_path, monkeypatch, out):
    monkeypatch.setattr("windtunnel.pipelines.sources.jsonl.SPLIT_BYTES", 97)
    (tmp_path / "big.jsonl").write_bytes(jsonl({"text": f"{i} " + "ä" * (i % 60)} for i in range(300)))
    assert len(read_work({"jsonl": str(tmp_path)}).parts) > 100
    documents, unreadable, _ = run({"jsonl": str(tmp_path)}, out / "out")
    assert [int(d["text"].split()[0]) for d in documents] == list(range(300))
    assert not unreadable


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_byte_order_marks_decide(tmp_path, encoding, out):
    text = '{"text": "größer 文"}\n{"text": "two"}\n'
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "m.jsonl").write_bytes((mark + text).encode(encoding))
    documents, unreadable, _ = run({"jsonl": str(tmp_path)}, out / "out")
    assert [d["text"] for d in documents] == ["größer 文", "two"]
    assert not unreadable


def test_the_source_says_what_is_missing_and_what_there_is(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.jsonl").write_bytes(jsonl([{"content": "x", "title": "y"}]))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.doc").write_text("x")
    for path, words in {
        str(tmp_path / "empty"): ["it is empty"],
        str(tmp_path / "other"): ["notes.doc", ".jsonl"],
        str(tmp_path / "nowhere" / "a.jsonl"): ["directory", "nowhere"],
        str(tmp_path / "b.jsonl"): ["did you mean 'a.jsonl'?"],
        str(tmp_path / "*.txt"): ["no file matches"],
        str(tmp_path / "a.jsonl"): ["no column 'text'", "content", "title", "text: COLUMN"],
    }.items():
        with pytest.raises(InputError) as raised:
            read_work({"jsonl": path})
        for word in words:
            assert word in str(raised.value)
    with pytest.raises(RecipeError, match="did you mean 'max_document_bytes'"):
        read_work({"jsonl": {"path": "x", "max_document_byte": 1}})


def test_an_empty_file_has_no_documents_and_is_no_error(tmp_path, out):
    (tmp_path / "none.jsonl").write_bytes(b"")
    documents, unreadable, counts = run({"jsonl": str(tmp_path)}, out / "out")
    assert (documents, unreadable, counts.seen) == ([], [], 0)


def test_a_file_that_changed_since_the_plan_is_refused(tmp_path, out):
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl(ROWS))
    work = read_work({"jsonl": str(path)})
    path.write_bytes(jsonl(ROWS[:-1]))
    with pytest.raises(InputError, match="changed while"):
        work.run({}, out, 0)
    assert read_work({"jsonl": str(path)}).parts != work.parts


def test_the_same_bytes_whenever_it_is_run(tmp_path, out):
    (tmp_path / "a.jsonl").write_bytes(jsonl(ROWS))
    work = read_work({"jsonl": str(tmp_path)})
    for name in ("one", "two"):
        work.run({}, out / name, 0)
    files = [sorted((out / name).rglob("*.parquet")) for name in ("one", "two")]
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]
    assert len(files[0]) == 2


def test_parquet_by_row_groups_with_every_string_type(tmp_path, monkeypatch, out):
    monkeypatch.setattr("windtunnel.pipelines.sources.parquet.SPLIT_BYTES", 600)
    for name, kind in {"s": pa.string(), "l": pa.large_string(), "b": pa.binary(), "v": pa.string_view()}.items():
        table = pa.table({"text": pa.array([f"{name}{i} ü" for i in range(90)], kind), "n": range(90)})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=10)
    dictionary = pa.table({"text": pa.array([f"d{i}" for i in range(90)]).dictionary_encode(), "n": range(90)})
    pq.write_table(dictionary, tmp_path / "d.parquet", row_group_size=10)
    documents, unreadable, _ = run({"parquet": str(tmp_path)}, out / "out")
    assert len(documents) == 450
    assert {d["source"] for d in documents} == {"s", "l", "b", "v", "d"}
    assert documents[-1]["text"] == "v89 ü"
    assert documents[-1]["meta"] == '{"n":89}'
    assert not unreadable
    assert len(read_work({"parquet": str(tmp_path)}).parts) > 5


def test_parquet_rows_without_text_or_with_bytes_that_are_no_utf8_are_counted(tmp_path, out):
    wrong = pa.array([b"good", b"\xff\xfe", None, b"", b"also good"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": wrong}), tmp_path / "a.parquet")
    documents, unreadable, _ = run({"parquet": str(tmp_path)}, out / "out")
    assert [d["text"] for d in documents] == ["good", "also good"]
    assert [(u["where"], u["error"]) for u in unreadable] == [
        ("a.parquet:0:1", "invalid_utf8"),
        ("a.parquet:0:2", "no_text"),
        ("a.parquet:0:3", "empty_text"),
    ]


def test_a_truncated_parquet_file_stops_the_plan_or_is_counted(tmp_path, out):
    for name in ("a", "b"):
        pq.write_table(pa.table({"text": [f"{name}{i}" for i in range(100)]}), tmp_path / f"{name}.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.parquet is not a whole Parquet file"):
        read_work({"parquet": str(tmp_path)})
    documents, unreadable, _ = run({"parquet": {"path": str(tmp_path), "broken": "count"}}, out / "out")
    assert len(documents) == 100
    assert [(u["where"], u["error"]) for u in unreadable] == [("a.parquet", "broken_parquet")]


def test_a_damaged_row_group_loses_its_own_rows_only(tmp_path, out):
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"text": [f"{i} " * 50 for i in range(400)]}), path, row_group_size=100, use_dictionary=False
    )
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xaa" * chunk.total_compressed_size
    path.write_bytes(data)
    documents, unreadable, _ = run({"parquet": str(path)}, out / "out")
    assert [int(d["text"].split()[0]) for d in documents] == [*range(100), *range(200, 400)]
    assert [(u["error"], u["rows"]) for u in unreadable] == [("broken_row_group", 100)]
    assert "rows 0 to 99 of row group 1" in unreadable[0]["detail"]


def test_the_licence_of_what_was_read_is_noted_for_the_manifest(tmp_path, out, monkeypatch):
    (tmp_path / "a.jsonl").write_bytes(jsonl([{"text": "a"}]))
    assert run({"jsonl": str(tmp_path / "a.jsonl")}, out / "unknown")[2].notes == {}
    known = [{"name": n, "licence": "MIT", "origin": f"package {n}", "packages": []} for n in ("one", "two")]
    monkeypatch.setattr("windtunnel.pipelines.sources.jsonl.Jsonl.origins", lambda self: known)
    notes = run({"jsonl": str(tmp_path / "a.jsonl")}, out / "known")[2].notes
    assert notes == {"licence": "one: MIT; two: MIT", "origin": "one: package one; two: package two"}


def test_a_parquet_file_without_the_column_names_those_it_has(tmp_path):
    pq.write_table(pa.table({"txt": ["a"], "url": ["b"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="did you mean 'txt'") as raised:
        read_work({"parquet": str(tmp_path)})
    assert "(available: txt, url)" in str(raised.value)


def test_copies_in_hidden_directories_and_behind_links_are_not_read(tmp_path, out):
    for place in (".ipynb_checkpoints", "sub/.git", "sub"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "x.jsonl").write_text(json.dumps({"text": place}) + "\n")
    (tmp_path / "a_loop").symlink_to(tmp_path, target_is_directory=True)
    for number, path in enumerate((tmp_path, f"{tmp_path}/**/*.jsonl")):
        documents, unreadable, _ = run({"jsonl": str(path)}, out / str(number))
        assert [d["text"] for d in documents] == ["sub"] and not unreadable


def test_text_files_are_documents_of_their_directory(tmp_path, out):
    folder = tmp_path / "books"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("first\nbook")
    (folder / "deep" / "b.txt.gz").write_bytes(gzip.compress(b"second"))
    (folder / "bad.txt").write_bytes(b"ab\xffcd")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "wide.txt").write_bytes("über".encode("utf-16"))
    (folder / ".hidden.txt").write_text("no")
    documents, unreadable, _ = run({"text": str(folder)}, out / "out")
    assert [d["text"] for d in documents] == ["first\nbook", "second", "über"]
    assert [d["source"] for d in documents] == ["books", "deep", "books"]
    assert sorted(u["error"] for u in unreadable) == ["empty_text", "invalid_utf8"]
    documents, _, _ = run({"text": {"path": str(folder), "encoding": "latin-1"}}, out / "latin")
    assert "abÿcd" in [d["text"] for d in documents]


def test_many_small_files_make_few_parts(tmp_path, monkeypatch, out):
    monkeypatch.setattr("windtunnel.pipelines.sources._file_groups.GROUP_FILES", 40)
    for i in range(100):
        (tmp_path / f"{i:03}.txt").write_text(f"text {i}")
    assert len(read_work({"text": str(tmp_path)}).parts) == 3
    documents, _, _ = run({"text": str(tmp_path)}, out / "out")
    assert [d["text"] for d in documents] == [f"text {i}" for i in range(100)]


def test_csv_with_quotes_line_breaks_and_wrong_rows(tmp_path, out):
    good = 'id,text\n1,plain\n2,"two\nlines, and ""quotes"""\n'
    bad = "3\n4,bad \udcff byte\n5,"  # a field too few; a byte that is not UTF-8; an empty text
    (tmp_path / "t.csv").write_bytes((good + bad).encode("utf-8", "surrogateescape"))
    documents, unreadable, _ = run({"csv": str(tmp_path)}, out / "out")
    assert [d["text"] for d in documents] == ["plain", 'two\nlines, and "quotes"']
    assert [d["meta"] for d in documents] == ['{"id":"1"}', '{"id":"2"}']
    assert [(u["where"], u["error"]) for u in unreadable] == [
        ("t.csv:5", "wrong_field_count"),
        ("t.csv:6", "invalid_utf8"),
        ("t.csv:7", "empty_text"),
    ]
    (tmp_path / "t.tsv").write_text("text\tn\na,b\t1\n")
    documents, _, _ = run({"csv": str(tmp_path / "t.tsv")}, out / "tab")
    assert documents[0]["text"] == "a,b"


def test_a_csv_quote_that_never_closes_is_counted_and_bounded(tmp_path, out):
    (tmp_path / "q.csv").write_text('text\ngood\n"open ' + "x" * 5000 + "\n" + "lost\n" * 3 + "y" * 200 + "\nback\n")
    spec = {"csv": {"path": str(tmp_path / "q.csv"), "max_document_bytes": 5100}}
    documents, unreadable, _ = run(spec, out / "out")
    assert documents[0]["text"] == "good"
    assert documents[-1]["text"] == "back"
    assert [u["error"] for u in unreadable] == ["invalid_csv"]
    assert "lines 3 to" in unreadable[0]["detail"]


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_arrow_files_and_streams(tmp_path, kind, out):
    table = pa.table({"text": [f"t{i}" for i in range(30)], "lang": ["de"] * 30})
    make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, make(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    documents, unreadable, _ = run({"arrow": str(tmp_path)}, out / "out")
    assert [d["text"] for d in documents] == [f"t{i}" for i in range(30)]
    assert {d["lang"] for d in documents} == {"de"}
    assert not unreadable
    (tmp_path / "x.arrow").write_bytes(b"not arrow at all, but long enough to be looked at")
    with pytest.raises(InputError, match="not an Arrow IPC"):
        read_work({"arrow": str(tmp_path)})


def test_arrow_files_as_polars_writes_them(tmp_path, out):
    frame = pl.DataFrame({"text": ["a b", None, "c"], "kind": ["x", "y", "x"], "tags": [["t"], [], None]})
    frame.with_columns(pl.col("kind").cast(pl.Categorical)).write_ipc(tmp_path / "x.arrow")
    kinds = pa.ipc.open_file(tmp_path / "x.arrow").schema
    assert pa.types.is_string_view(kinds.field("kind").type.value_type), "or this tests nothing"
    documents, unreadable, _ = run({"arrow": {"path": str(tmp_path), "source": "kind"}}, out / "out")
    assert [(d["text"], d["source"], d["meta"]) for d in documents] == [
        ("a b", "x", '{"tags":["t"]}'),
        ("c", "x", '{"tags":null}'),
    ]
    assert [u["error"] for u in unreadable] == ["no_text"]


def test_hf_reads_a_local_directory_by_shards(tmp_path, out):
    for i in range(3):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"train-{i}.jsonl").write_bytes(jsonl([{"text": f"{i} {j}", "k": j} for j in range(4)]))
    documents, unreadable, _ = run({"hf": str(tmp_path / "data")}, out / "out")
    assert [d["text"] for d in documents] == [f"{i} {j}" for i in range(3) for j in range(4)]
    assert documents[5]["meta"] == '{"k":1}'
    assert not unreadable
    assert Path(out / "out" / "documents" / "00002.parquet").exists()
    with pytest.raises(InputError, match="no column 'body'"):
        read_work({"hf": {"path": str(tmp_path / "data"), "text": "body"}})


def test_hf_names_the_splits_that_a_saved_data_set_has(tmp_path, out):
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list([{"text": "a b"}])
    DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "saved"))
    assert run({"hf": {"path": str(tmp_path / "saved"), "split": "test"}}, out / "out")[0][0]["text"] == "a b"
    with pytest.raises(InputError, match=r"no split 'tes': did you mean 'test'\?"):
        read_work({"hf": {"path": str(tmp_path / "saved"), "split": "tes"}})


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ("news/part-00001-of-00010.jsonl.gz", "news"),
        ("news/00001.jsonl", "news"),
        ("wiki-0003.parquet", "wiki"),
        ("train-00000-of-00003.parquet", "train"),
        ("books.txt", "books"),
        ("c4.jsonl", "c4"),
        ("gpt-2.jsonl.zst", "gpt-2"),
        ("CC-MAIN-20230101-00001.warc.gz", "CC-MAIN"),
        ("CC-MAIN-20230320083513-20230320113513-00012.warc.wet.gz", "CC-MAIN"),
        ("fineweb/000_00000.parquet", "fineweb"),
        ("train-00000-of-00042-0123456789abcdef.parquet", "train"),
        ("c4-train.00000-of-01024.json.gz", "c4-train"),
        ("wiki/part-00000-6d0e7c0a-1b2c-4d5e-8f90-a1b2c3d4e5f6-c000.snappy.parquet", "wiki"),
        ("saved/data-00000-of-00001.arrow", "saved"),
        ("facade.jsonl", "facade"),
        ("v1.2.csv", "v1.2"),
    ],
)
def test_the_origin_is_the_files_name_without_endings_and_shard_numbers(path, origin):
    assert origin_of(Path(path)) == origin


def test_sample_names_are_checked_when_the_recipe_is_read():
    with pytest.raises(RecipeError, match="did you mean 'api_docs'"):
        read_work({"samples": ["api_doc"]})


def test_values_that_python_cannot_hold_cost_their_own_rows(tmp_path, out):
    when = pa.array([0, 2**62, 5], pa.timestamp("us"))
    pq.write_table(pa.table({"text": ["a", "b", "c"], "when": when}), tmp_path / "a.parquet")
    documents, unreadable, _ = run({"parquet": str(tmp_path)}, out / "out")
    assert [d["text"] for d in documents] == ["a", "c"]
    assert [(u["where"], u["error"]) for u in unreadable] == [("a.parquet:0:1", "unusable_field")]
    documents, _, _ = run({"parquet": {"path": str(tmp_path), "meta": False}}, out / "without")
    assert len(documents) == 3


PACK = {"gzip": gzip.compress, "bz2": bz2.compress, "xz": partial(lzma.compress, preset=0), "zst": zstandard.compress}


@pytest.mark.parametrize("pack", PACK)
def test_a_bomb_ends_early_and_in_little_memory(tmp_path, pack, monkeypatch, out):
    monkeypatch.setattr(streams, "_SWELL_BYTES", 4 << 20)
    path = tmp_path / "b.jsonl"
    path.write_bytes(PACK[pack](bytes(64 << 20)))
    tracemalloc.start()
    with pytest.raises(streams.BrokenStream, match="looks like a bomb"):
        list(streams.lines(streams.chunks(path), 1 << 20))
    assert tracemalloc.get_traced_memory()[1] < 36 << 20
    tracemalloc.stop()
    with pytest.raises(InputError, match="too_large"):  # there is nothing else in the file
        run({"jsonl": str(path)}, out / "out")
