"""Bodies of archived responses: truly encoded, declared encoded but stored decoded, and cut short."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import brotli
import pytest
from warcio.archiveiterator import ArchiveIterator

from tests.pipelines.test_warc import page, read
from windtunnel.pipelines.readers.http_bodies import decoded
from windtunnel.pipelines.samples.pages import record
from windtunnel.pipelines.sources._read import read_work

HTML = page(1).encode()


def chunked(body: bytes) -> bytes:
    pieces = [body[at : at + 100] for at in range(0, len(body), 100)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def raw_deflate(body: bytes) -> bytes:
    member = zlib.compressobj(wbits=-15)
    return member.compress(body) + member.flush()


ENCODERS = {
    "gzip": gzip.compress, "deflate": zlib.compress, "raw deflate": raw_deflate, "br": brotli.compress,
    "chunked": chunked, "gzip, chunked": lambda body: chunked(gzip.compress(body)),
}  # fmt: skip


def headers(name: str) -> tuple[str, str]:
    """Return the Transfer-Encoding and the Content-Encoding that declare an encoding."""
    content = name.removeprefix("raw ").removesuffix("chunked").rstrip(", ")
    return ("chunked" if name.endswith("chunked") else ""), content


@pytest.mark.parametrize("name", ENCODERS)
def test_a_body_has_its_encoding_or_is_as_it_is_or_is_cut_short(name: str) -> None:
    transfer, content = headers(name)
    packed = ENCODERS[name](HTML)
    assert decoded(packed, transfer, content, 1 << 20) == (HTML, 0)
    assert decoded(HTML, transfer, content, 1 << 20) == (HTML, len(name.split(", ")))
    with pytest.raises(ValueError, match=r"cut short|within its chunks"):
        decoded(packed[: len(packed) // 2], transfer, content, 1 << 20)
    if "chunked" not in name:
        assert len(decoded(ENCODERS[name](bytes(1 << 20)), transfer, content, 5000).data) == 5001, "no more is unpacked"


def test_an_unknown_encoding_of_text_is_none_and_bytes_that_are_no_text_are_broken() -> None:
    assert decoded(HTML, "", "UTF-8", 1 << 20) == (HTML, 1)
    for name in ("gzip", "UTF-8"):
        with pytest.raises(ValueError, match="neither text nor"):
            decoded(bytes(range(1, 200)), "", name, 1 << 20)


@pytest.mark.parametrize("name", ["gzip", "deflate", "chunked"])  # warcio 1.8 fails on brotli 1.2
@pytest.mark.parametrize("state", ["encoded", "decoded"])
def test_pages_are_those_that_warcio_gives(tmp_path: Path, name: str, state: str) -> None:
    transfer, content = headers(name)
    declared = f"Transfer-Encoding: {transfer}" if transfer else f"Content-Encoding: {content}"
    body = ENCODERS[name](HTML) if state == "encoded" else HTML
    stored = record("https://a.example/1", body, f"text/html\r\n{declared}")
    (theirs,) = (r.content_stream().read() for r in ArchiveIterator(io.BytesIO(stored)) if r.rec_type == "response")
    assert theirs == HTML
    (tmp_path / "a.warc").write_bytes(stored)
    documents, unreadable = read({"warc": str(tmp_path / "a.warc")}, tmp_path / "out")
    assert ["Page number 1 has" in d["text"] for d in documents] == [True] and not unreadable
    notes = read_work({"warc": str(tmp_path / "a.warc")}).run({}, tmp_path / "again", 0).notes
    assert notes == ({} if state == "encoded" else {"http_encodings_not_there": 1})
