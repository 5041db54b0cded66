"""Sources at addresses: the same documents as from local files, and an error with the reason where there are none."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.pipelines.remote.conftest import put, without_aws
from windtunnel.pipelines.engine.mirrors.opening import fetched_path
from windtunnel.pipelines.files.filter import filter_files
from windtunnel.pipelines.readers.listing import matching
from windtunnel.pipelines.readers.paths import Fingerprint, origin_of
from windtunnel.pipelines.remote import address
from windtunnel.pipelines.remote.address import checked
from windtunnel.pipelines.remote.failures import explained, without_secrets
from windtunnel.pipelines.sources import parquet
from windtunnel.pipelines.sources._read import Read, read_work
from windtunnel.schemas.errors import InputError, RecipeError, WindtunnelError

ROWS = [{"text": f"document number {i}", "url": f"https://a.example/{i}", "lang": "en", "views": i} for i in range(50)]


def lines(rows: list[dict[str, Any]] = ROWS) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def read(work: Read, out: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the documents of a source and what of it could not be read."""
    for rank in range(work.shards({})):
        work.run({}, out, rank)
    tables = [[pq.read_table(f) for f in sorted((out / d).glob("*.parquet"))] for d in ("documents", "unreadable")]
    documents, unreadable = (pa.concat_tables(found).to_pylist() for found in tables)
    return documents, unreadable


def parquet_bytes(rows: list[dict[str, Any]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, **options)
    return buffer.getvalue()


def arrow_bytes(rows: list[dict[str, Any]]) -> bytes:
    buffer, table = io.BytesIO(), pa.Table.from_pylist(rows)
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return buffer.getvalue()


def csv_bytes(rows: list[dict[str, Any]]) -> bytes:
    return pl.DataFrame(rows).write_csv().encode()


PAGE = b"<html><head><title>T</title></head><body><main><p>" + b"A page has words enough. " * 30 + b"</p></main>"


def warc_bytes(packed: bool) -> bytes:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE
    head = (
        b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://a.example/\r\n"
        b"Content-Type: application/http; msgtype=response\r\nContent-Length: %d\r\n\r\n" % len(http)
    )
    record = head + http + b"\r\n\r\n"
    return b"".join(gzip.compress(record) if packed else record for _ in range(3))


FORMATS = {
    "jsonl.zst": ("jsonl", lambda: zstandard.ZstdCompressor().compress(lines())),
    "parquet": ("parquet", lambda: parquet_bytes(ROWS, row_group_size=13)),
    "arrow": ("arrow", lambda: arrow_bytes(ROWS)),
    "csv": ("csv", lambda: csv_bytes(ROWS)),
    "txt": ("text", lambda: b"a text of its own"),
    "html": ("html", lambda: PAGE),
    "warc": ("warc", lambda: warc_bytes(packed=False)),
    "warc.gz": ("warc", lambda: warc_bytes(packed=True)),
}


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_documents_of_local_files(ending: str, bucket: str, tmp_path: Path) -> None:
    """From a directory and from a glob; only places and, in `meta`, the names of files differ."""
    source, data = FORMATS[ending]
    names = [f"news/part-00001.{ending}", f"news/more/part-00002.{ending}"]
    for name in names:
        put(f"{bucket}/{name}", data())
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data())
    put(f"{bucket}/news/.hidden/part-00003.{ending}", b"not to be read")
    put(f"{bucket}/news/_SUCCESS", b"")

    def documents(path: str, out: str) -> list[dict[str, Any]]:
        found, unreadable = read(read_work({source: path}), tmp_path / out)
        assert not unreadable
        return [{**row, "meta": (row["meta"] or "").replace(bucket, "").replace(str(tmp_path), "")} for row in found]

    local = documents(f"{tmp_path}/news", "local")
    assert len(local) >= 2
    assert documents(f"{bucket}/news/", "directory") == local
    assert documents(f"{bucket}/news/**/part-*.{ending}", "glob") == local
    assert len(documents(f"{bucket}/{names[0]}", "file")) == len(local) / 2


def test_a_large_file_of_lines_is_read_in_parts(memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windtunnel.pipelines.sources.jsonl.SPLIT_BYTES", 1000)
    put(f"{memory}/a.jsonl", lines())
    work = read_work({"jsonl": f"{memory}/a.jsonl"})
    assert work.shards({}) > 2
    documents, unreadable = read(work, tmp_path)
    assert [row["text"] for row in documents] == [row["text"] for row in ROWS]
    assert not unreadable


def test_row_groups_are_parts_and_are_read_by_themselves(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "SPLIT_BYTES", 1)
    put(f"{bucket}/a.parquet", parquet_bytes(ROWS, row_group_size=20))
    work = read_work({"parquet": f"{bucket}/a.parquet"})
    assert [(part["first"], part["end"]) for part in work.parts] == [(0, 1), (1, 2), (2, 3)]
    documents, _ = read(work, tmp_path)
    assert [row["text"] for row in documents] == [row["text"] for row in ROWS]


def test_memory_does_not_grow_with_the_file(memory: str) -> None:
    rows = [{"text": f"{i} " + "word " * 2000} for i in range(12000)]
    put(f"{memory}/a.jsonl.gz", gzip.compress(lines(rows), 1))
    put(f"{memory}/a.parquet", parquet_bytes(rows, row_group_size=12000, compression="none", use_dictionary=False))
    for source, path in {"jsonl": f"{memory}/a.jsonl.gz", "parquet": f"{memory}/a.parquet"}.items():
        plugin = read_work({source: path}).plugin()
        (part,) = plugin.parts()
        tracemalloc.start()
        arrow = pa.total_allocated_bytes()
        peak, count = 0, 0
        for batch in plugin.read(part):
            count += batch.num_rows if isinstance(batch, pa.RecordBatch) else 0
            peak = max(peak, pa.total_allocated_bytes() - arrow)
        python = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 12000
        assert python + peak < 90 << 20, f"{source}: {python >> 20} + {peak >> 20} MB for a file of 120 MB"


def test_a_plan_changes_with_the_file_and_only_with_it(bucket: str, memory: str) -> None:
    for place in (bucket, memory):
        url = f"{place}/a.jsonl"
        put(url, lines())
        first = read_work({"jsonl": url})
        assert read_work({"jsonl": url}) == first, "looking twice gives one key"
        assert read_work({"jsonl": f"{place}/*.jsonl"}).parts == first.parts, "so does a listing"
        put(url, lines(ROWS[::-1]))  # of the same size
        assert read_work({"jsonl": url}).parts != first.parts


@pytest.mark.parametrize("source", ["jsonl", "text"])
def test_a_file_that_changed_or_vanished_since_the_plan_is_an_error(source: str, bucket: str, tmp_path: Path) -> None:
    url = f"{bucket}/folder/a.{'jsonl' if source == 'jsonl' else 'txt'}"
    put(url, lines())
    work = read_work({source: url})
    put(url, lines(ROWS[:3]))
    with pytest.raises(InputError, match="changed while the run was going: run again"):
        read(work, tmp_path / "changed")
    fsspec.filesystem("s3").rm_file(url)
    with pytest.raises(InputError, match=r"(is gone since the plan was made: run again|there is no s3://)"):
        read(work, tmp_path / "gone")


def test_a_file_that_changes_while_it_is_read_fails_and_is_not_a_short_file(bucket: str) -> None:
    """A reader counts what a damaged local file loses; what the network loses has to be read again."""
    url = f"{bucket}/a.jsonl"
    put(url, b'{"text": "' + b"a" * (9 << 20) + b'"}\n' + lines())
    (file,) = matching(url, (".jsonl",))
    with file.open() as handle:
        assert handle.read(10) == b'{"text": "'
        put(url, lines())
        with pytest.raises(InputError, match=r"s3://bucket.*changed while it was read: run again"):
            while handle.read(1 << 20):
                pass


def test_a_failing_network_is_an_error_through_pyarrow_too(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(f"{memory}/a.parquet", parquet_bytes([{"text": "word " * 9000}] * 500, compression="none"))
    plugin = read_work({"parquet": f"{memory}/a.parquet"}).plugin()
    (part,) = plugin.parts()
    plain = io.BytesIO.read
    monkeypatch.setattr(
        "fsspec.implementations.memory.MemoryFile.read",
        lambda self, size=-1: plain(self, size) if self.tell() > 1 << 16 else cut(),
        raising=False,
    )

    def cut() -> bytes:
        raise ConnectionResetError("the line is cut")

    with pytest.raises(InputError, match=r"memory://texts/a.parquet cannot be read: ConnectionResetError: the line"):
        list(plugin.read(part))


def test_what_is_not_there_is_named(bucket: str, memory: str) -> None:
    put(f"{bucket}/news/a.jsonl", lines())
    for place, message in {
        f"{bucket}/news/b.jsonl": r"there is no s3://bucket-\d+/news/b.jsonl: bucket-\d+/news holds a.jsonl",
        f"{bucket}/old/b.jsonl": r"there is no s3://bucket-\d+/old/b.jsonl: bucket-\d+ holds news",
        f"{bucket}/news/*.txt": r"no file matches s3://.*: bucket-\d+/news holds a.jsonl",
        "s3://no-such-bucket/a.jsonl": r"there is no s3://.*: no-such-bucket does not exist, or holds nothing that",
        "s3://no-such-bucket/*.jsonl": r"no file matches s3://.*: no-such-bucket does not exist, or",
        f"{memory}/a.jsonl": r"there is no memory://texts/a.jsonl: ",
    }.items():
        with pytest.raises(InputError, match=message):
            read_work({"jsonl": place})
    with pytest.raises(InputError, match=r"no .txt or .text or .md or .rst file below s3://bucket-\d+/news: .*a.jsonl"):
        read_work({"text": f"{bucket}/news"})


def test_missing_credentials_are_an_error_of_the_plan(server: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        without_aws(patch)
        with pytest.raises(
            InputError, match="cannot be listed: no credentials are configured; s3 reads AWS_ACCESS"
        ) as e:
            read_work({"jsonl": "s3://bucket/a.jsonl"})
    assert e.value.__cause__ is None
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_a_missing_driver_is_an_error_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # importing it fails
    message = r"source 'jsonl', parameter 'path': gs:// needs a package that is not installed: .*\(pip install gcsfs\)"
    with pytest.raises(RecipeError, match=message):
        read_work({"jsonl": "gs://bucket/a.jsonl"})
    with pytest.raises(RecipeError, match=r"no file system is called s33://: did you mean 's3'"):
        read_work({"jsonl": "s33://bucket/a.jsonl"})
    with pytest.raises(RecipeError, match="IN: gs:// needs a package"):
        filter_files("gs://bucket/a.jsonl", Path("never-made"), [{"length": {"min_words": 3}}])


def test_the_hub_offline_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"hf://datasets/a/b/\*.parquet cannot be listed: the network is switched off"):
        read_work({"parquet": "hf://datasets/a/b/*.parquet"})


@pytest.mark.parametrize(
    "place",
    [
        "s3://key:hush-hush@bucket/a.jsonl",
        "s3://key%3Ahush-hush@bucket/a.jsonl",
        "s3://key:hush/hush-hush@bucket/a.jsonl",
        "s3://hush-hush@bucket/a.jsonl",
        "s3://bucket/a.jsonl?versionId=hush-hush",
        "https://h.example/a.jsonl?signature=hush-hush",
        "http://hush-hush@127.0.0.1:8765/a.jsonl",
        "sftp://me:hush-hush@h/a",
    ],
)
def test_an_address_with_a_secret_is_refused_without_quoting_it(place: str) -> None:
    with pytest.raises(RecipeError, match="no password and no query") as error:
        read_work({"jsonl": place})
    assert "hush-hush" not in str(error.value)
    for read in (lambda: matching(place, (".jsonl",)), lambda: fetched_path(place)):
        with pytest.raises(InputError, match="no password and no query") as refused:
            read()
        assert "hush-hush" not in str(refused.value)
    with pytest.raises(InputError) as failed, explained(f"{place} cannot be read"):
        raise FileNotFoundError("a.jsonl")
    assert "hush-hush" not in str(failed.value) or place == "s3://hush-hush@bucket/a.jsonl"


@pytest.mark.parametrize(
    "place",
    [
        "hf://datasets/user/name@revision/a.jsonl",
        "hf://datasets/user/name@refs%2Fconvert%2Fparquet/a.parquet",
        "abfs://container@account.dfs.core.windows.net/a.jsonl",
        "sftp://me@host:22/a.jsonl",
        "s3://bucket/part-0?.jsonl",
        "s3://bucket/year=202?/month=1/a@b.jsonl",
        "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/name/a@b.jsonl",
        "http://127.0.0.1:8765/a@b.jsonl",
    ],
)
def test_addresses_without_secrets_are_as_they_were(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "file_system", lambda scheme: None)  # whether its package is installed or not
    assert address.checked(place) == place
    with pytest.raises(InputError) as failed, explained(f"{place} cannot be read"):
        raise FileNotFoundError("a.jsonl")
    assert place in str(failed.value)


def test_secrets_of_the_configuration_are_not_in_errors(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "hush-hush")
    monkeypatch.setattr("fsspec.config.conf", {"s3": {"secret": "also-hush", "anon": "False"}})
    said = without_secrets("GET https://me:pw@h.example/x?sig=abc failed for hush-hush and also-hush, anon False")
    assert said == "GET https://h.example/x failed for *** and ***, anon False"

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("the server knows hush-hush")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "info", fails)
    with pytest.raises(WindtunnelError, match=r"RuntimeError: the server knows \*\*\*$"):
        read_work({"jsonl": f"{memory}/a.jsonl"})


@pytest.mark.parametrize("place", ["zip://a.jsonl::s3://bucket/a.zip", "simplecache::s3://bucket/a", "s3://", "s3:///"])
def test_addresses_that_are_not_of_files(place: str) -> None:
    with pytest.raises(ValueError, match=r"(chained|names nothing)"):
        checked(place)


def test_local_paths_are_what_they_were(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(lines())
    stat = file.stat()
    plain = {"path": str(file), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    assert read_work({"jsonl": str(file)}).parts == (plain,)
    assert read_work({"jsonl": f"file://{file}"}).parts == (plain,)
    assert Fingerprint.check(plain) == file


ORIGINS: dict[str, str] = {"news/part-00001.jsonl.gz": "news", "wiki-0003.jsonl": "wiki", "00001.jsonl": "texts"}


@pytest.mark.parametrize("name", ORIGINS)
def test_origins_are_named_as_those_of_local_files(name: str, memory: str) -> None:
    put(f"{memory}/{name}", lines())
    (file,) = matching(f"{memory}/{name}", (".jsonl",))
    assert origin_of(file) == ORIGINS[name]


@pytest.mark.parametrize("make", [parquet_bytes, lines], ids=["parquet", "lines"])
def test_filter_takes_an_address(make: Callable[..., bytes], bucket: str, tmp_path: Path) -> None:
    rows = [*ROWS, {**ROWS[0], "text": "short"}]
    put(f"{bucket}/in.{'parquet' if make is parquet_bytes else 'jsonl'}", make(rows))
    counts = filter_files(f"{bucket}/in.*", tmp_path / "out", [{"length": {"min_words": 2}}])
    assert (counts.seen, counts.kept, counts.dropped) == (51, 50, {"length.too_few_words": 1})
    assert pl.read_parquet(tmp_path / "out/kept/*.parquet")["views"].to_list() == list(range(50))
