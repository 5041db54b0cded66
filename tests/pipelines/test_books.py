"""What a file says it holds is what comes out of it: as documents, or as counted records that cannot be read."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warcio.archiveiterator import ArchiveIterator

from windtunnel.pipelines.files.filter import filter_files
from windtunnel.pipelines.readers.batches import Stated, batches
from windtunnel.pipelines.samples.pages import record
from windtunnel.pipelines.sources._read import read_work
from windtunnel.pipelines.sources.text import Text
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts

TEXTS = [f"row {i} says something" for i in range(400)]
TABLE = pa.table({"text": TEXTS, "n": range(400)})


def read(spec: dict[str, str], out: Path) -> tuple[Counts, list[dict]]:
    """Return the counts of a source and its unreadable records, after the step's own end."""
    work = read_work(spec)
    counts = Counts.total([work.run({}, out, rank) for rank in range(work.shards({}))])
    work.finish({}, out)
    lost = pl.read_parquet(out / "unreadable" / "*.parquet")
    assert lost["rows"].sum() == sum(counts.unreadable.values()) and counts.kept + lost["rows"].sum() == counts.seen
    return counts, lost.to_dicts()


def damaged(data: bytes, at: int, size: int = 40) -> bytes:
    return data[:at] + b"\xaa" * size + data[at + size :]


def parquet_file(path: Path) -> None:
    pq.write_table(TABLE, path, row_group_size=100, use_dictionary=False, compression="zstd")
    chunk = pq.read_metadata(path).row_group(1).column(0)
    path.write_bytes(damaged(path.read_bytes(), chunk.data_page_offset))


def checked_parquet_file(path: Path) -> None:
    """One byte of text is another: only the checksum of its page tells."""
    options = {"row_group_size": 100, "use_dictionary": False, "compression": "none", "write_page_checksum": True}
    pq.write_table(TABLE, path, **options)
    path.write_bytes(path.read_bytes().replace(b"row 150 says", b"row 150 sayz"))


def arrow_file(path: Path, make: Callable = pa.ipc.new_file) -> None:
    with make(str(path), TABLE.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(TABLE, max_chunksize=100)
    magic = b"\x28\xb5\x2f\xfd"  # each column of a batch is compressed by itself, text as offsets and characters
    data, at = path.read_bytes(), 0
    for _ in range(4):
        at = data.index(magic, at + 1)
    path.write_bytes(damaged(data, at, 8))


def arrow_stream(path: Path) -> None:
    arrow_file(path, pa.ipc.new_stream)


COLUMNAR = {
    "parquet": (parquet_file, {"broken_row_group": 100}),
    "parquet with checksums": (checked_parquet_file, {"broken_row_group": 100}),
    "arrow": (arrow_file, {"broken_arrow": 100}),
    "arrow stream": (arrow_stream, {"broken_arrow": 300}),
}


@pytest.mark.parametrize("kind", COLUMNAR)
def test_the_rows_of_a_damaged_part_count_in_recipes_and_commands_alike(tmp_path: Path, kind: str) -> None:
    write, lost = COLUMNAR[kind]
    path = tmp_path / f"a.{kind.split()[0]}"
    write(path)
    counts, unreadable = read({path.suffix[1:]: str(path)}, tmp_path / "read")
    assert (counts.seen, counts.unreadable) == (400, lost)
    assert len(unreadable) == 1 and unreadable[0]["where"] == f"a{path.suffix}:1"
    totals = filter_files(path, tmp_path / "out", [{"length": {"min_words": 1}}])
    assert totals == Counts(seen=400, kept=400 - sum(lost.values()), unreadable=lost)


def test_a_stream_that_is_cut_counts_what_was_begun(tmp_path: Path) -> None:
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=100)
    whole = (tmp_path / "a.arrow").read_bytes()
    for cut, kept, reason in ((2000, 300, "broken_arrow"), (8, 400, "truncated_arrow")):
        (tmp_path / "a.arrow").write_bytes(whole[:-cut])
        counts, _ = read({"arrow": str(tmp_path / "a.arrow")}, tmp_path / f"out{cut}")
        assert (counts.kept, counts.unreadable) == (kept, {reason: 1})


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_every_line_is_a_document_or_counted(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    data = b"".join(json.dumps({"text": text}).encode() + b"\n" for text in TEXTS) + b"\n  \n"
    data = data.replace(b'{"text": "row 9 ', b'{"text" "row 9 ').removesuffix(b"\n") + b"\xff"
    (tmp_path / "a.jsonl").write_bytes(pack(data))
    counts, _ = read({"jsonl": str(tmp_path / "a.jsonl")}, tmp_path / "out")
    assert counts.seen == len([line for line in data.split(b"\n") if line.strip()])
    assert counts.kept == 399


def test_every_record_of_a_csv_file_is_a_document_or_counted(tmp_path: Path) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["n", "text"], *([i, f"{text},\n{text}"] for i, text in enumerate(TEXTS)), [], [1]])
    (tmp_path / "a.csv").write_text(buffer.getvalue())
    counts, _ = read({"csv": str(tmp_path / "a.csv")}, tmp_path / "out")
    assert (counts.kept, counts.unreadable) == (400, {"wrong_field_count": 1})
    (tmp_path / "b.csv").write_text("n,text\n1,a\n" + '2,"never closed\n' + "3,b\n" * 50)
    counts, _ = read({"csv": str(tmp_path / "b.csv")}, tmp_path / "out2")
    assert (counts.kept, counts.unreadable) == (1, {"invalid_csv": 51}), "all lines that the quote has taken"


def test_every_record_of_a_warc_file_is_a_document_or_counted(tmp_path: Path) -> None:
    members = [gzip.compress(record(f"https://a.example/{i}", b"<p>" + b"words of a page " * 9)) for i in range(20)]
    theirs = sum(1 for _ in ArchiveIterator(io.BytesIO(b"".join(members))))
    members[7] = damaged(members[7], 60, 20)
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members))
    counts, _ = read({"warc": str(tmp_path / "a.warc.gz")}, tmp_path / "out")
    assert (counts.seen, counts.unreadable) == (theirs, {"broken_gzip": 1})


@pytest.mark.parametrize("kind", ["text", "html"])
def test_every_file_is_a_document_or_counted(tmp_path: Path, kind: str) -> None:
    for number in range(5):
        (tmp_path / f"{number}.{kind[:4].replace('text', 'txt')}").write_bytes(
            b"<p>One two." if number else b"\xff" * 9
        )
    counts, _ = read({kind: str(tmp_path)}, tmp_path / "out")
    assert counts.seen == 5


def test_a_source_that_loses_a_record_is_an_error_with_both_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("One two.")

    def forgetful(self: Text, part: dict) -> object:
        yield from batches(self._row(path) for path in list(self.group(part))[1:])
        yield Stated(part["files"])

    monkeypatch.setattr(Text, "read", forgetful)
    with pytest.raises(InputError, match=r"file 1 to 3 of .* holds 3 records by its own count, and 2 came out of it"):
        read({"text": str(tmp_path)}, tmp_path / "out")


def test_nothing_readable_is_an_error_with_the_commonest_reason(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "b"}x\n' * 4 + '{"text": 7}\n')
    said = r"5 records are unreadable, most of them for the reason invalid_json \(a.jsonl:1: "
    with pytest.raises(InputError, match=said):
        read({"jsonl": str(tmp_path / "a.jsonl")}, tmp_path / "out")
    with pytest.raises(InputError, match=said):
        filter_files(tmp_path / "a.jsonl", tmp_path / "filtered", ["length"])
