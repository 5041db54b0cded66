"""What a directory holds: links are followed once, and whatever is not read is named with its reason."""

from __future__ import annotations

import json
import os
import socket
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict

from tests.pipelines.test_books import read
from windtunnel.pipelines.engine.executors import Where
from windtunnel.pipelines.files import dedup, filter
from windtunnel.pipelines.files.user_files import user_rows
from windtunnel.pipelines.readers.listing import listed, summary
from windtunnel.pipelines.samples.pages import record
from windtunnel.pipelines.sources._read import read_work
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts

filter_files = partial(filter.filter_files, where=Where("inline"))
dedup_files = partial(dedup.dedup_files, where=Where("inline"))
LOOSE = [{"length": {"min_words": 1}}]


def lines(path: Path, first: int = 0, number: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": f"row {first + i} of some"}) + "\n" for i in range(number)))


def test_links_are_followed_once_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    top, away = tmp_path / "top", tmp_path / "away"
    lines(top / "a.jsonl")
    lines(away / "b.jsonl", 20)
    lines(top / ".git" / "c.jsonl")
    (top / "a_link").symlink_to(away)
    (top / "again").symlink_to(away)
    (top / "a0.jsonl").symlink_to(top / "a.jsonl")
    (top / "loop").symlink_to(top)
    (top / "up").symlink_to(tmp_path)
    (top / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    (top / "self.jsonl").symlink_to(top / "self.jsonl")
    (top / "x.arrow").write_bytes(b"")
    os.mkfifo(top / "pipe.jsonl")
    found = listed(str(top), (".jsonl",))
    assert [Path(str(file)).relative_to(top).as_posix() for file in found.files] == ["a.jsonl", "a_link/b.jsonl"]
    assert {Path(path).name: reason for path, reason in found.left_out} == {
        ".git": "hidden", "again": "a link to what is read already", "a0.jsonl": "a link to what is read already",
        "loop": "a link to what is read already", "up": "a link to a directory above",
        "gone.jsonl": "a link to nothing", "self.jsonl": "a link to nothing", "x.arrow": "of another format",
        "pipe.jsonl": "no regular file",
    }  # fmt: skip
    counts, _ = read({"jsonl": str(top)}, tmp_path / "out")
    assert counts.kept == 40
    assert counts.notes["not_read"] == summary(found.left_out) and "1 hidden (.git)" in summary(found.left_out)
    (top / "x.arrow").unlink()
    assert filter_files(top, tmp_path / "filtered", LOOSE).kept == 40
    note = user_rows(top).work.run({"columns": _columns(top, tmp_path)}, tmp_path / "rows", 0).notes["not_read"]
    assert isinstance(note, str) and "a link to nothing" in note


def _columns(top: Path, tmp_path: Path) -> Artifact:
    """Return the finished columns of a directory of JSON lines."""
    work = user_rows(top).inputs["columns"].work
    for rank in range(work.shards({})):
        work.run({}, tmp_path / "columns", rank)
    return Artifact(tmp_path / "columns")


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "dangling"])
def test_what_is_no_file_is_refused_when_it_is_planned(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "a.jsonl"
    held = socket.socket(socket.AF_UNIX)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        held.bind(str(place))
    elif kind == "device":
        place = Path("/dev/zero")
    else:
        place.symlink_to(tmp_path / "nowhere")
    for refuse in (lambda: read_work({"jsonl": str(place)}), lambda: user_rows(place)):
        with pytest.raises(InputError, match=r"pipe, a socket or a device|is a link to .*nowhere"):
            refuse()
    held.close()


def test_a_saved_data_set_is_read_as_one(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"text": [f"row {i} of some" for i in range(30)], "n": range(30)})
    rows.save_to_disk(str(tmp_path / "saved"), num_shards=2)
    (tmp_path / "saved" / "metadata.json").write_text('{\n "made": "today"\n}')
    assert filter_files(tmp_path / "saved", tmp_path / "filtered", LOOSE) == Counts(seen=30, kept=30)
    assert dedup_files(tmp_path / "saved", tmp_path / "deduplicated", "exact").kept == 30
    kept = pl.read_parquet(tmp_path / "filtered" / "kept" / "*.parquet")
    assert kept["n"].to_list() == list(range(30)), "in order, with its columns"
    size = sum(len(text) for text in rows["text"])
    assert read({"hf": str(tmp_path / "saved")}, tmp_path / "hf")[0] == Counts(seen=30, kept=30, bytes=size)
    assert read({"arrow": str(tmp_path / "saved")}, tmp_path / "arrow")[0].notes["not_read"] == (
        "3 about the data (dataset_info.json, metadata.json, state.json)"
    )
    with pytest.raises(InputError, match="use the source `hf`"):
        read_work({"jsonl": str(tmp_path / "saved")})
    DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(InputError, match="the splits train, test: name one"):
        user_rows(tmp_path / "splits")
    assert filter_files(tmp_path / "splits" / "test", tmp_path / "one", LOOSE).kept == 30


def test_a_folder_of_pages_is_read_as_pages_by_the_commands(tmp_path: Path) -> None:
    html = "<title>T</title><p>" + "words of a page " * 9
    pages = [record(f"https://a.example/{i}", f"{html} {i}</p>".encode()) for i in "12"]
    (tmp_path / "in").mkdir()
    for number, page in enumerate(pages):
        (tmp_path / "in" / f"CC-0000{number}.warc").write_bytes(page)
    assert filter_files(tmp_path / "in", tmp_path / "out", LOOSE) == Counts(seen=2, kept=2)
    kept = pl.read_parquet(tmp_path / "out" / "kept" / "*.parquet")
    assert kept.select("url", "source", "title").rows() == [(f"https://a.example/{i}", "CC", "T") for i in "12"]


def test_shards_have_one_source_in_the_commands_as_in_recipes(tmp_path: Path) -> None:
    for number in range(2):
        lines(tmp_path / "in" / f"part-0000{number}.jsonl", 20 * number)
    step = user_rows(tmp_path / "in")
    columns = _columns(tmp_path / "in", tmp_path)
    for rank in range(2):
        step.work.run({"columns": columns}, tmp_path / "rows", rank)
    assert set(pl.read_parquet(tmp_path / "rows" / "documents" / "*.parquet")["source"]) == {"in"}


def test_the_content_of_files_can_be_part_of_the_key(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    keys = []
    for text in ("one", "two"):
        path.write_text(json.dumps({"text": text}))
        os.utime(path, ns=(10**18, 10**18))
        keys.append([read_work({"jsonl": {"path": str(path), "content_hash": wanted}}).parts for wanted in (0, 1)])
    (same, first), (as_before, second) = keys
    assert same == as_before and first != second


EMPTY = {
    "a.jsonl": "jsonl", "a.json": "jsonl", "a.parquet": "parquet", "a.arrow": "arrow", "a.csv": "csv", "a.warc": "warc",
    "a.jsonl.gz": "jsonl", "a.jsonl.zst": "jsonl", "a.html": "html", "a.txt": "text", "a.warc.wet.gz": "warc",
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_a_file_of_no_bytes_is_an_error_or_counted_or_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    for attempt in (
        lambda: read({EMPTY[name]: str(tmp_path / name)}, tmp_path / "out"),
        lambda: read({"hf": str(tmp_path)}, tmp_path / "hf"),
        lambda: filter_files(tmp_path / name, tmp_path / "filtered", LOOSE),
    ):
        try:
            attempt()
        except InputError as error:
            assert str(tmp_path) in str(error) or name in str(error)


@pytest.mark.parametrize("name", ["data-00000-of-00001.arrow", "state.json"])
def test_a_saved_data_set_without_content_is_an_error(tmp_path: Path, name: str) -> None:
    Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "saved" / name).write_bytes(b"" if "arrow" in name else b"{}")
    for attempt in (lambda: read_work({"hf": str(tmp_path / "saved")}), lambda: user_rows(tmp_path / "saved")):
        with pytest.raises(InputError, match="saved"):
            attempt()


def test_a_state_beside_lines_is_no_saved_data_set(tmp_path: Path) -> None:
    lines(tmp_path / "in" / "a.jsonl")
    (tmp_path / "in" / "state.json").write_text("{}")
    assert len(user_rows(tmp_path / "in").work.parts) == 1


def test_a_stream_without_rows_has_none(tmp_path: Path) -> None:
    with pa.ipc.new_stream(str(tmp_path / "n.arrow"), pa.schema([("text", pa.string())])):
        pass
    assert read({"arrow": str(tmp_path / "n.arrow")}, tmp_path / "none")[0] == Counts()
