"""Input files of every format, whole and in every state in which files come."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 20
TEXTS = [f"Row {n} says that the ferry number {n * 7} leaves at {n % 12} o'clock, é." for n in range(ROWS)]
Change = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Case:
    """A file for a source; `checked`: its format shows what is missing, so that rows lost must be counted."""

    source: str
    name: str  # of the file
    state: str
    content: bytes
    checked: bool


def jsonl() -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()


def csv() -> bytes:
    return ("text,n\n" + "".join(f'"{text}",{n}\n' for n, text in enumerate(TEXTS))).encode()


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"text": TEXTS}), out, row_group_size=5)
    return out.getvalue()


def arrow() -> bytes:
    out = io.BytesIO()
    table = pa.table({"text": TEXTS})
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    return out.getvalue()


def html() -> bytes:
    paragraphs = "".join(f"<p>{text} {text} {text}</p>" for text in TEXTS)
    return f"<html><head><title>Ferries</title></head><body><article>{paragraphs}</article></body></html>".encode()


def warc() -> bytes:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + html()
    records = []
    for n in range(ROWS):
        head = (
            f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://example.org/{n}\r\n"
            f"WARC-Date: 2024-01-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-{n:012d}>\r\n"
            f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(page)}\r\n\r\n"
        )
        records.append(gzip.compress(head.encode() + page + b"\r\n\r\n", mtime=0))
    return b"".join(records)


FORMATS: dict[
    str, tuple[str, Callable[[], bytes], bool]
] = {  # source: (suffix, content, whether it shows what is missing)
    "jsonl": (".jsonl", jsonl, False),
    "csv": (".csv", csv, False),
    "text": (".txt", lambda: "\n".join(TEXTS).encode(), False),
    "parquet": (".parquet", parquet, True),
    "arrow": (".arrow", arrow, True),
    "html": (".html", html, False),
    "warc": (".warc.gz", warc, True),
}


def flipped(content: bytes, dice: random.Random) -> bytes:
    changed = bytearray(content)
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


STATES: dict[str, Change] = {
    "intact": lambda content, dice: content,
    "empty": lambda content, dice: b"",
    "truncated": lambda content, dice: content[: dice.randrange(len(content) // 4, len(content) * 3 // 4)],
    "without its beginning": lambda content, dice: content[dice.randrange(1, len(content) // 2) :],
    "a bit flipped": flipped,
    "another bit flipped": flipped,
    "zeros within": lambda content, dice: content[:200] + bytes(300) + content[500:],
    "noise": lambda content, dice: dice.randbytes(5000),
    "twice": lambda content, dice: content + content,
}
# for line formats
WRITTEN: dict[str, Change] = {
    "a byte order mark": lambda content, dice: b"\xef\xbb\xbf" + content,
    "UTF-16": lambda content, dice: content.decode().encode("utf-16"),
    "NUL bytes": lambda content, dice: content.replace(b"ferry", b"fe\x00ry"),
    "Latin-1": lambda content, dice: content.decode().encode("latin-1", "replace"),
    "carriage returns": lambda content, dice: content.replace(b"\n", b"\r\n"),
    "no last line end": lambda content, dice: content.rstrip(b"\n"),
}
LINES: dict[str, bytes] = {
    "deep JSON": b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "deep JSON beside the text": b'{"text": "a", "more": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}\n",
    "a huge line": json.dumps({"text": "x " * 8_000_000}).encode() + b"\n",
    "text of another kind": b'{"text": 1}\n{"text": ["a"]}\n{"text": null}\n{"text": {"a": 1}}\n{"n": 2}\n[1]\n3\n',
    "half a surrogate": b'{"text": "\\ud800"}\n',
    "a number without end": b'{"text": "a", "n": 1' + b"0" * 5000 + b"}\n",
    "the same key twice": b'{"text": "a", "text": "b"}\n',
}
NAMES = ("a\nb", "-rf", "%s{0}$(id)", "ünï", "a'b\"c", "x" * 200, " ", "[a]*?", "#x, y: z")


def cases(dice: random.Random) -> Iterator[Case]:
    """Yield files of every format in every state."""
    for source, (suffix, content, checked) in FORMATS.items():
        for state, change in STATES.items():
            missing = checked and state not in ("intact", "twice")
            yield Case(source, f"x{suffix}", state, change(content(), dice), missing)
        other = "parquet" if source != "parquet" else "jsonl"
        yield Case(source, f"x{suffix}", "another format's content", FORMATS[other][1](), checked)
    for source in ("jsonl", "csv", "text"):
        suffix, content, _ = FORMATS[source]
        for state, change in WRITTEN.items():
            yield Case(source, f"x{suffix}", state, change(content(), dice), False)
        packed = gzip.compress(content(), mtime=0)
        for state in ("intact", "truncated", "a bit flipped", "empty"):
            yield Case(source, f"x{suffix}.gz", f"compressed, {state}", STATES[state](packed, dice), state != "intact")
        bomb = gzip.compress(bytes(100 << 20), 9, mtime=0)
        yield Case(source, f"x{suffix}.gz", "a bomb", bomb, False)
    for state, line in LINES.items():
        yield Case("jsonl", "x.jsonl", state, jsonl() + line, False)
    for name in NAMES:
        yield Case("jsonl", f"{name}.jsonl", f"the name {name[:20]!r}", jsonl(), False)


def write(case: Case, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / case.name).write_bytes(case.content)
    return folder
