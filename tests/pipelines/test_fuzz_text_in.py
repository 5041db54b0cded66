"""Whatever bytes come in, readers and extractors end, count, and give valid text."""

import gzip
import io
import tempfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windtunnel.pipelines.files.user_files import user_rows
from windtunnel.pipelines.readers.batches import Stated, Unreadable
from windtunnel.pipelines.readers.encoding import decode_page
from windtunnel.pipelines.readers.pages import Failure, PageExtractor, RawPage
from windtunnel.pipelines.readers.streams import BrokenStream, chunks, lines, utf8_chunks
from windtunnel.pipelines.readers.warc_records import Broken, Record, records
from windtunnel.pipelines.samples.pages import record
from windtunnel.pipelines.sources._read import read_work
from windtunnel.pipelines.sources.csv import Csv
from windtunnel.pipelines.sources.jsonl import Jsonl
from windtunnel.pipelines.sources.text import Text
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError

FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
PIECES = [
    b'{"text": "a"}',
    b'{"text": "\xc3\xa9"}',
    b"\n",
    b"\r\n",
    b"\x00",
    b"\xff\xfe",
    b'"',
    b"{",
    b"]",
    b",",
    b"text",
    b"\\ud800",
]
MESS = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=20)), max_size=30).map(b"".join)


def read(source):
    """Read all parts; return texts and unreadable, after checks that hold for any input."""
    texts, lost = [], []
    for part in source.parts():
        for item in source.read(part):
            if isinstance(item, Unreadable):
                lost.append(item)
                assert item.where and item.error
            elif not isinstance(item, Stated):
                item.validate(full=True)  # valid UTF-8 throughout
                texts += item.column("text").to_pylist()
    return texts, lost


@FEW
@given(data=MESS)
def test_lines_of_json_are_documents_or_counted(tmp_path, data):
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "first"}\n' + data + b'\n{"text": "last"}')
    texts, lost = read(Jsonl(path=str(tmp_path / "x.jsonl")))
    there = [line for line in (b'{"text": "first"}\n' + data + b'\n{"text": "last"}').split(b"\n") if line.strip()]
    assert len(texts) + len(lost) == len(there)
    assert (texts[0], texts[-1]) == ("first", "last")


@FEW
@given(data=MESS, errors=st.sampled_from(["count", "replace"]))
def test_text_and_csv_end_with_valid_text(tmp_path, data, errors):
    (tmp_path / "x.txt").write_bytes(data)
    texts, lost = read(Text(path=str(tmp_path / "x.txt"), errors=errors))
    assert len(texts) + len(lost) == 1
    (tmp_path / "x.csv").write_bytes(b"n,text\n1,first\n" + data)
    texts, _ = read(Csv(path=str(tmp_path / "x.csv"), errors=errors))
    assert texts[:1] == ["first"]


@FEW
@given(data=st.binary(max_size=300), cut=st.integers(0, 300), limit=st.integers(1, 50), size=st.integers(1, 9))
def test_lines_are_those_of_split_in_any_pieces(data, cut, limit, size):
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    found = list(lines(pieces, limit))
    wanted = data.split(b"\n")
    wanted = wanted[:-1] if wanted[-1] == b"" else wanted
    assert [line.data for line in found] == [w.removesuffix(b"\r") if len(w) <= limit else None for w in wanted]
    assert [data[line.start : line.start + len(w)] for line, w in zip(found, wanted, strict=True)] == wanted


@FEW
@given(
    at=st.integers(0, 400),
    noise=st.binary(min_size=1, max_size=30),
    head=st.sampled_from([b"", b"\xff\xfe", b"\x28\xb5\x2f\xfd"]),
)
def test_damaged_streams_give_a_prefix_of_the_truth(tmp_path, at, noise, head):
    truth = "".join(f"line {i}, größer\n" for i in range(60)).encode()
    packed = gzip.compress(truth, mtime=0)
    at = min(at, len(packed))
    path = tmp_path / "x"
    path.write_bytes(head + packed[:at] + noise + packed[at:])
    got = b""
    try:
        for piece in utf8_chunks(chunks(path)):
            got += piece
    except BrokenStream as error:
        assert error.error
    if not head and at > 10:  # behind gzip's header: what was whole before the damage is given out
        before = zlib.decompressobj(wbits=31).decompress(packed[:at])
        assert got.startswith(before[: max(0, len(before) - 256)])


PAGES = [record(f"https://a.example/{i}", f"<p>page {i} {'words ' * 20}</p>".encode()) for i in range(6)]


@settings(FEW, max_examples=150)
@given(
    packed=st.booleans(),
    victim=st.integers(0, 5),
    at=st.integers(0, 500),
    drop=st.integers(0, 60),
    noise=st.binary(max_size=60),
)
def test_damage_to_one_record_leaves_the_others(tmp_path, packed, victim, at, drop, noise):
    data = [gzip.compress(p, mtime=0) if packed else p for p in PAGES]
    if victim == 0:
        at = max(at, 6)  # a file must still begin like one
    one = data[victim]
    data[victim] = one[:at] + noise + one[at + drop :]
    (tmp_path / "x.warc").write_bytes(b"".join(data))
    found = list(records(tmp_path / "x.warc", 1 << 16))
    whole = [f.data for f in found if isinstance(f, Record)]
    assert all(isinstance(f, Record | Broken) for f in found)
    for number in range(6):
        # Without checksums, damage to a record's end can reach the head of the next one, never further.
        spared = number != victim and (packed or number != victim + 1)
        assert not spared or any(f"page {number} ".encode() in w for w in whole)


@FEW
@given(
    data=st.one_of(st.binary(max_size=400), st.text(max_size=100).map(str.encode)),
    declared=st.one_of(
        st.none(),
        st.text(max_size=20),
        st.sampled_from(["utf-16", "utf-7", "hex", "rot13", "unicode_escape", "idna", "shift_jis"]),
    ),
)
def test_any_bytes_of_a_page_are_decoded(data, declared):
    text, encoding = decode_page(data, declared)
    text.encode()
    assert encoding


@pytest.fixture(scope="module")
def process():
    with PageExtractor("resiliparse", "precision", 20) as found:
        yield found


TAGS = st.sampled_from(
    [
        "p",
        "div",
        "table",
        "tr",
        "li",
        "svg",
        "script",
        "style",
        "template",
        "math",
        "select",
        "b",
        "a",
        "title",
        "body",
        "html",
        "textarea",
        "plaintext",
        "frameset",
    ]
)
MARKUP = st.recursive(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(["<!--", "-->", "<![CDATA[", "&#xD800;", "&bogus;", "<", "</", "\x00", "<!DOCTYPE"]),
    ),
    lambda inner: st.tuples(TAGS, st.text(max_size=8), st.lists(inner, max_size=4), st.booleans()).map(
        lambda t: f"<{t[0]} class='{t[1]}' {t[1]}>" + "".join(t[2]) + (f"</{t[0]}>" if t[3] else "")
    ),
    max_leaves=12,
)


@settings(FEW, max_examples=200)
@given(
    pages=st.lists(
        st.one_of(MARKUP.map(lambda s: s.encode("utf-8", "surrogatepass")), st.binary(max_size=200)),
        min_size=1,
        max_size=5,
    )
)
def test_no_markup_kills_the_extractor(process, pages):
    found = list(process.extract([RawPage(page) for page in pages]))
    assert [raw.html for raw, _ in found] == pages
    for _, page in found:
        assert not isinstance(page, Failure), page
        page.text.encode()


def stored(make, **options):
    """Return a small table in a columnar format."""
    table = pa.table(
        {"text": [f"row {i}" for i in range(9)], "n": range(9), "more": [["a"] * (i % 3) for i in range(9)]}
    )
    buffer = io.BytesIO()
    if make is pq.write_table:
        make(table, buffer, row_group_size=3, **options)
    else:
        with make(buffer, table.schema, **options) as writer:
            writer.write_table(table, max_chunksize=3)
    return buffer.getvalue()


LINES_OF_JSON = b'{"text": "one", "n": [1, {}]}\n' * 3
KINDS = {
    "jsonl": ("jsonl", [LINES_OF_JSON]),
    "json": ("jsonl", [LINES_OF_JSON, b'[{"text": "one"},\n {"text": "two"}]', b'{\n "text": "one"\n}']),
    "csv": ("csv", [b'n,text\n1,one\n2,"two\nlines"\n']),
    "tsv": ("csv", [b"n\ttext\n1\tone\n"]),
    "txt": ("text", [b"one"]),
    "warc": ("warc", [b"".join(p.replace(b"text/html", b"text/none") for p in PAGES[:3])]),  # nothing to extract
    "parquet": ("parquet", [stored(pq.write_table, compression=how) for how in ("none", "zstd")]),
    "arrow": ("arrow", [stored(make) for make in (pa.ipc.new_file, pa.ipc.new_stream)]),
}
PACKS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


@st.composite
def files(draw):
    """Draw the suffix, the source and the bytes of a file: any bytes, or good ones of the kind with damage."""
    suffix = draw(st.sampled_from(sorted(KINDS)))
    source, good = KINDS[suffix]
    data = draw(st.one_of(MESS, st.sampled_from(good)))
    for _ in range(draw(st.integers(0, 3))):
        at, size = draw(st.integers(0, len(data))), draw(st.integers(0, 9))
        data = data[:at] + draw(st.binary(max_size=9)) + data[at + size :]
    packed = draw(st.sampled_from(sorted(PACKS)))
    data = PACKS[packed](data)
    return suffix + packed, source, data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


def run_all(work, inputs, out):
    """Run all shards of a step and its end; return records seen. Its counts are held against what the file states."""
    counts = [work.run(inputs, out, rank).check("shard") for rank in range(work.shards(inputs))]
    work.finish(inputs, out)
    return sum(count.seen for count in counts)


def any_file(file):
    """Read a file by a source and by the commands, which end with records, counted ones or an InputError."""
    name, source, data = file
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x.{name}"
        path.write_bytes(data)
        seen = []
        for read_it in (lambda: read_work({source: str(path)}), lambda: user_rows(path)):
            try:
                found = read_it()
                inputs = {}
                for role, step in getattr(found, "inputs", {}).items():
                    run_all(step.work, {}, Path(folder) / role)
                    inputs[role] = Artifact(Path(folder) / role)
                seen.append(run_all(getattr(found, "work", found), inputs, Path(folder) / f"out{len(seen)}"))
            except InputError as error:
                assert str(error)
        if source in ("jsonl", "parquet", "arrow") and len(seen) == 2:
            assert seen[0] == seen[1], "recipes and commands count the same"


@settings(FEW, max_examples=20, deadline=10_000)
@given(file=files())
def test_any_file_of_any_name_gives_records_or_a_reason(file):
    any_file(file)


@pytest.mark.slow
@settings(FEW, max_examples=600, deadline=10_000)
@given(file=files())
def test_many_files_of_any_name_give_records_or_a_reason(file):
    any_file(file)
