"""WARC and HTML against files that lie: lengths, encodings, checksums, sizes; each costs itself only."""

import gzip
import random
import tracemalloc
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windtunnel.pipelines.readers.batches import Row
from windtunnel.pipelines.readers.encoding import decode_page
from windtunnel.pipelines.readers.extract import extract
from windtunnel.pipelines.readers.pages import Failure, PageExtractor, RawPage
from windtunnel.pipelines.readers.warc_records import Broken, Record, records
from windtunnel.pipelines.samples.pages import page_set, record
from windtunnel.pipelines.sources._read import read_work
from windtunnel.schemas.errors import InputError, RecipeError
from windtunnel.schemas.work import Counts


def page(number, words="words about nothing in particular "):
    body = f"<p>Page number {number} has {words * 8}and that is all.</p>"
    return f"<html lang='en'><head><title>Page {number}</title></head><body><article>{body}</article></body></html>"


def good(number):
    return record(f"https://a.example/{number}", page(number).encode())


def lying(number, claim):
    head, _, rest = good(number).partition(b"Content-Length: ")
    return head + b"Content-Length: " + claim + rest[rest.index(b"\r\n") :]


def read(spec, out):
    work = read_work(spec)
    counts = Counts.total([work.run({}, out, rank) for rank in range(work.shards({}))])
    found = [pa.concat_tables([pq.read_table(f) for f in sorted((out / d).glob("*.parquet"))]) for d in FOLDERS]
    documents, unreadable = (table.to_pylist() for table in found)
    assert counts.seen == len(documents) + len(unreadable)
    return documents, unreadable


FOLDERS = ("documents", "unreadable")


def urls(documents):
    return [d["url"].rpartition("/")[2] for d in documents]


@pytest.fixture
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_pages_come_with_title_address_and_time(tmp_path, out, pack):
    (tmp_path / "crawl.warc").write_bytes(b"".join(pack(good(i)) for i in range(70)))  # more than one batch
    documents, unreadable = read({"warc": str(tmp_path)}, out)
    assert urls(documents) == [str(i) for i in range(70)]
    assert documents[3]["text"].startswith("Page number 3 has words")
    assert documents[3]["source"] == "crawl"
    for word in ('"title":"Page 3"', '"crawled":"', '"html_lang":"en"', '"encoding":"utf-8"'):
        assert word in documents[3]["meta"]
    assert not unreadable


@pytest.mark.parametrize("claim", [b"0", b"50", b"900", b"999999999", b"-5", b"abc", b""])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_lying_length_loses_no_page(tmp_path, pack, claim, place):
    data = [good(i) for i in range(5)]
    data[place] = lying(place, claim)
    (tmp_path / "a.warc").write_bytes(b"".join(map(pack, data)))
    found = list(records(tmp_path / "a.warc", 1 << 20))
    whole = [f.data for f in found if isinstance(f, Record)]
    if pack is bytes and place == 4 and claim != b"0":
        # At the end of a plain file nothing tells a lie from a cut.
        assert [f.error for f in found if isinstance(f, Broken)] == ["truncated_record"]
        assert [b"a.example/%d\r" % i in w for i, w in enumerate(whole)] == [True] * 4
    elif pack is bytes and place == 4:
        assert len(whole) == 4 or f"number {place}".encode() in whole[4] or isinstance(found[-1], Broken)
    else:
        assert [f"number {i} has".encode() in w for i, w in enumerate(whole)] == [True] * 5
        assert not [f for f in found if isinstance(f, Broken)]


def test_broken_members_cost_themselves(tmp_path, out):
    members = [gzip.compress(good(i)) for i in range(8)]
    members[2] = members[2][:60] + bytes(30) + members[2][90:]  # damaged inside
    members[4] = members[4][:70]  # cut, with more behind
    members[5] = b"garbage " * 20 + members[5]
    members[7] = members[7][:-20]  # the end of the file is missing
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members))
    documents, unreadable = read({"warc": str(tmp_path)}, out)
    assert urls(documents) == ["0", "1", "3", "5", "6"]
    assert [u["error"] for u in unreadable] == ["broken_gzip", "broken_gzip", "not_a_record", "broken_gzip"] or [
        u["error"] for u in unreadable
    ] == ["broken_gzip", "broken_gzip", "broken_gzip"]


def test_garbage_between_plain_records_is_counted_once(tmp_path, out):
    data = good(0) + b"not a record at all\r\n" * 50 + b"\r\n\r\n" + good(1) + good(2)[:-200]
    (tmp_path / "a.warc").write_bytes(data)
    documents, unreadable = read({"warc": str(tmp_path)}, out)
    assert urls(documents) == ["0", "1"]
    assert [u["error"] for u in unreadable] == ["not_a_record", "truncated_record"]


def test_one_member_may_hold_the_whole_file(tmp_path, out):
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(b"".join(good(i) for i in range(6))))
    documents, unreadable = read({"warc": str(tmp_path)}, out)
    assert urls(documents) == [str(i) for i in range(6)]
    assert not unreadable


def test_zip_bombs_are_counted_and_not_unpacked(tmp_path, out):
    bomb = record("https://a.example/bomb", b"<p>" + b"x" * (64 << 20))  # in the gzip member
    inner = gzip.compress(b"<p>" + b"x" * (16 << 20))  # in the page's own compression
    head, _, rest = record("https://a.example/inner", inner).partition(b"HTTP/1.1 200 OK\r\n")
    nested = head + b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + rest
    packed = zlib.compressobj(wbits=31, level=1)
    members = [gzip.compress(good(0)), packed.compress(bomb) + packed.flush(), gzip.compress(good(1))]
    members += [gzip.compress(nested), gzip.compress(good(2))]
    del bomb
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members))
    tracemalloc.start()
    found = list(records(tmp_path / "a.warc.gz", 1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [type(f) for f in found] == [Record, Broken, Record, Record, Record]
    assert peak < 8 << 20
    documents, unreadable = read({"warc": {"path": str(tmp_path), "max_document_bytes": 1 << 20}}, out)
    assert urls(documents) == ["0", "1", "2"]
    assert [u["error"] for u in unreadable] == ["too_large", "too_large"]


def nested(number, size):
    """A record with a true length that is too large, and that has two records and much else inside."""
    inner = good(90) + good(91) + b"frames of a film " * (size // 17)
    return record(f"https://a.example/{number}", inner, "video/mp4")


def test_pages_behind_a_very_large_record_of_a_plain_file_are_read(tmp_path, out):
    limit = 4000
    data = good(0) + nested(1, 100 * limit) + good(2) + lying(3, b"7").replace(b"Page", b"<br>" * limit) + good(4)
    film = record("https://a.example/5", b"more frames " * (100 * limit), "video/mp4")
    (tmp_path / "a.warc").write_bytes(data + film + good(6) + nested(7, 80 * limit).rstrip(b"\r\n"))
    found = list(records(tmp_path / "a.warc", limit))
    whole = [f.data for f in found if isinstance(f, Record)]
    assert [f.error for f in found if isinstance(f, Broken)] == ["too_large"] * 4
    assert [f"number {i} has".encode() in w for i, w in zip((0, 2, 4, 6), whole, strict=True)] == [True] * 4


def test_pages_behind_a_very_large_record_of_one_gzip_member_are_read_unless_it_is_a_bomb(tmp_path):
    film = record("https://a.example/1", random.Random(0).randbytes(1 << 20), "video/mp4")
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(good(0) + film + good(2)))
    found = list(records(tmp_path / "a.warc.gz", 4000))
    assert [f.error if isinstance(f, Broken) else "" for f in found] == ["", "too_large", ""]
    bomb = record("https://a.example/1", bytes(8 << 20), "video/mp4")
    packed = gzip.compress(good(0) + bomb + good(2))
    (tmp_path / "a.warc.gz").write_bytes(packed + b"rest of the file")
    found = list(records(tmp_path / "a.warc.gz", 4000))
    assert [f.error if isinstance(f, Broken) else "" for f in found] == ["", "too_large", "rest_unread"]
    assert 2000 < int(found[-1].detail.split()[0]) < len(packed)


def test_a_record_of_no_known_type_is_counted_and_the_type_is_found_late(tmp_path, out):
    kind = b"WARC-Type: response\r\n"
    late = good(4).replace(kind, b"X-Note: " + b"n" * 6000 + b"\r\n" + kind)
    data = [
        good(0).replace(kind, b""),
        good(1).replace(b"response\r", b"respones\r"),
        good(2).replace(b"WARC-Type:", b"WARC-Typ:"),
        *(good(3).replace(b"response\r", name + b"\r") for name in (b"Metadata", b"revisit", b"warcinfo ")),
        late,
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(data))
    documents, unreadable = read({"warc": str(tmp_path)}, out)
    assert urls(documents) == ["4"]
    assert [u["error"] for u in unreadable] == ["unknown_record_type"] * 3
    assert [u["detail"] for u in unreadable] == ["no WARC-Type", "WARC-Type: respones", "no WARC-Type"]


def test_what_is_no_page_is_counted_and_other_record_types_are_not_pages(tmp_path, out):
    url = "https://a.example/x"
    data = [
        record(url, b"\x89PNG", "image/png"),
        good(1).replace(b"200 OK", b"404 NO"),
        good(2).replace(b"WARC-Type: response", b"WARC-Type: request"),
        record(url, gzip.compress(b"<p>cut")[:20], "text/html\r\nContent-Encoding: gzip"),
        record(url, b"<html><body></body></html>"),
        good(3),
    ]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(map(gzip.compress, data)))
    documents, unreadable = read({"warc": str(tmp_path)}, out)
    assert urls(documents) == ["3"]
    assert [u["error"] for u in unreadable] == ["not_html", "http_status", "broken_record", "no_main_text"]


def test_a_file_that_is_no_warc_is_refused_and_an_empty_one_is_empty(tmp_path, out):
    (tmp_path / "a.warc").write_bytes(b"")
    assert read({"warc": str(tmp_path)}, out) == ([], [])
    (tmp_path / "a.warc").write_bytes(b"<html>a list that is a page</html>")
    with pytest.raises(InputError, match="no WARC file"):
        read_work({"warc": str(tmp_path)})


def test_a_page_that_hangs_is_stopped_and_its_neighbours_are_read():
    pages = [RawPage(page(0).encode()), RawPage(b"<div>" * 60_000 + b"deep"), RawPage(page(2).encode())]
    with PageExtractor("resiliparse", "precision", 0.5) as process:
        found = [reply for _, reply in process.extract(pages)]
    assert isinstance(found[1], Failure)
    assert found[1].error == "timeout"
    assert [f.title for f in (found[0], found[2])] == ["Page 0", "Page 2"]


def test_hostile_markup_gives_a_page_or_a_reason():
    deep = b"<b>" * 10_000 + b"deep in the page " * 20
    pages = [deep, b"", b"\x00" * 5000, b"<" * 5000, b"<p>\xff\xfe\xfd", b"&#xD800;&#0;&#x110000;<p>entities"]
    with PageExtractor("resiliparse", "precision", 10) as process:
        found = [reply for _, reply in process.extract(map(RawPage, pages))]
    assert len(found) == len(pages)
    assert "deep in the page" in found[0].text
    assert not [f for f in found if isinstance(f, Failure)]


def test_html_files_with_an_encoding_that_lies(tmp_path, out):
    folder = tmp_path / "site"
    folder.mkdir()
    text = page(1, "Où est l'âme de la forêt? Les élèves étaient là. ")
    (folder / "a.html").write_bytes(text.replace("<head>", '<head><meta charset="utf-8">').encode("cp1252"))
    (folder / "b.html").write_bytes(text.replace("<head>", '<head><meta charset="shift_jis">').encode())
    (folder / "c.html.gz").write_bytes(gzip.compress(text.encode("utf-16")))
    (folder / "d.html").write_bytes(b"<html>" + b"x" * 5000)
    (folder / "e.html.gz").write_bytes(gzip.compress(text.encode())[:-30])
    documents, unreadable = read({"html": {"path": str(folder), "max_document_bytes": 4000}}, out)
    assert ["Les élèves étaient là" in d["text"] for d in documents] == [True] * 3
    assert {d["source"] for d in documents} == {"site"}
    assert sorted(u["error"] for u in unreadable) == ["broken_gzip", "too_large"]


SENTENCES = {
    "cp1251": "Все люди рождаются свободными и равными в своём достоинстве и правах. ",
    "koi8-r": "Они наделены разумом и совестью и должны поступать в духе братства. ",
    "cp932": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "euc_jp": "人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
    "gb18030": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "big5": "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神相對待。",
    "cp949": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. ",
    "cp1253": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια. ",
    "cp1252": "Tous les êtres humains naissent libres et égaux en dignité. Où est l'âme? ",
    "iso2022_jp": "すべての人間は、生まれながらにして自由である。",
    "utf-8": "Все люди рождаются свободными и равными. ",
}


@pytest.mark.parametrize("declared", [None, "utf-8", "windows-1252", "true"])
@pytest.mark.parametrize("encoding", SENTENCES)
def test_bytes_decide_over_what_a_page_says_of_them(encoding, declared):
    text = SENTENCES[encoding] * 6
    html = f"<html><head><title>x</title></head><body><div class='a'><p>{text}</p></div></body></html>"
    found, _ = decode_page(html.encode(encoding), encoding if declared == "true" else declared)
    assert text in found


def test_dates_and_addresses_come_from_the_page():
    html = """<html><head><title>  A   title </title><link rel="canonical" href="https://a.example/p">
    <script type="application/ld+json">{"datePublished": "2021-05-06T07:08:09Z"}</script></head><body><p>x</p></body>"""
    found = extract(html)
    assert (found.title, found.date, found.url) == ("A title", "2021-05-06T07:08:09Z", "https://a.example/p")
    meta = '<meta property="article:published_time" content="2020-01-02"><link rel=canonical href="javascript:x">'
    found = extract(f"<head>{meta}</head><p>text")
    assert (found.date, found.url) == ("2020-01-02", None)
    assert extract('<meta name="date" content="last tuesday"><p>x').date is None


def test_a_text_set_has_no_pages():
    with pytest.raises(RecipeError, match=r"samples: \[drama\]"):
        read_work({"warc": "sample:drama"})


@pytest.mark.network
def test_a_page_set_is_the_same_documents_as_pages_of_a_warc_file(out):
    documents, _ = read({"warc": "sample:sqlite_docs"}, out)
    wanted = page_set("sqlite_docs")
    rows = {row.url: row.text for part in range(wanted.parts) for row in wanted.part(part) if isinstance(row, Row)}
    assert {d["url"]: d["text"] for d in documents} == rows
    assert len(rows) > 700
