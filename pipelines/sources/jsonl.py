"""JSON lines, plain or compressed (gz, zst, bz2, xz): one object a line, one of its fields the text."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, ClassVar

import orjson

from windtunnel.pipelines.readers.batches import Stated, Unreadable
from windtunnel.pipelines.readers.fields import RecordReader
from windtunnel.pipelines.readers.json_values import HEAD_BYTES, in_lines, values
from windtunnel.pipelines.readers.paths import Fingerprint
from windtunnel.pipelines.readers.streams import BrokenStream, Line, LineCount, chunks, compression, lines, utf8_chunks
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.sources._source import SPLIT_BYTES, DecodedSource, Example, RecordSource, for_each

_PEEK_LINES = 100


class Jsonl(RecordSource, DecodedSource):
    """One JSON object a line. Plain files above 64 MB are read by several tasks, compressed ones by one each.

    A `.json` file may also hold arrays of objects, or objects over several lines; one task reads it in bounded memory.

    A line that is no JSON object, not UTF-8, or has no text is counted with its reason; a file cut short or damaged
    gives what can be read before the damage.
    """

    version: ClassVar[int] = 2
    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".json")
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            {"a.jsonl": '{"text": "One."}\n\nno JSON\n{"text": ""}\n'}, ("One.",), {"empty_text": 1, "invalid_json": 1}
        ),
        Example({"a.jsonl": '{"body": "One."}\n'}, ("One.",), params={"text": "body"}),
        Example({"a.json": '[{"text": "One."},\n {"text": "Two."}]'}, ("One.", "Two.")),
        Example({"a.jsonl.gz": gzip.compress(b'{"text": "One."}\n')}, ("One.",)),
    )

    def parts(self) -> list[dict[str, Any]]:
        files = self.files()
        self._check_first(files[0])
        return [part for parts in for_each(files, self._split) for part in parts]

    def records(self, part: dict[str, Any]) -> Iterator[Any]:
        path = Fingerprint.check(part)
        return self._rows(path, self.fields(path), part.get("start", 0), part.get("end"))

    def _rows(self, path: File, fields: RecordReader, start: int, end: int | None) -> Iterator[Any]:
        number = blank = 0
        pieces, in_lines = self._pieces(path, start)
        counted = LineCount(pieces, start, end)
        try:
            for line in self._lines(counted, in_lines, start, end):
                number = line.number
                where = f"{path.name}:{number}" if start == 0 else f"{path.name}@{line.start}"
                if (row := self._row(line, fields, where)) is not None:
                    yield row
                else:
                    blank += 1
            if in_lines:
                yield Stated(counted.total() - blank)
        except BrokenStream as error:
            yield Unreadable(fields.origin, f"{path.name}:{number + 1}", error.error, error.detail)

    def _row(self, line: Line, fields: RecordReader, where: str) -> Any:
        """Return what a line is; None for a blank line, which is no record."""
        data, replace = line.data, self.errors == "replace"
        if data is None:
            return Unreadable(
                fields.origin, where, "too_large", f"a record of more than {self.max_document_bytes} bytes"
            )
        try:
            record = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            if not data.strip():
                return None
            try:
                record = json.loads(data.decode("utf-8", "replace" if replace else "strict"))
            except UnicodeDecodeError as wrong:
                return Unreadable(fields.origin, where, "invalid_utf8", str(wrong)[:200])
            except (ValueError, RecursionError):
                nul = "nul_bytes" if b"\x00" in data else "invalid_json"
                return Unreadable(fields.origin, where, nul, str(error)[:200])
        if not isinstance(record, dict):
            return Unreadable(fields.origin, where, "not_an_object", type(record).__name__)
        return fields.row(record, where, replace)

    def _pieces(self, path: File, start: int = 0) -> tuple[Iterator[bytes], bool]:
        """Return a file's bytes, and whether its values are in lines; only `.json` says nothing of that by its name."""
        if start:  # from one byte before, so that a line that begins right at `start` is not taken for a line's rest
            return chunks(path, start - 1), True
        pieces = utf8_chunks(chunks(path), self.encoding)
        if ".json" not in map(str.lower, path.suffixes):
            return pieces, True
        head, size = [], 0
        try:
            while size < HEAD_BYTES and (piece := next(pieces, None)) is not None:
                head.append(piece)
                size += len(piece)
        except BrokenStream as error:
            pieces = _broken(error)  # in its turn, behind what came before it
        return chain(head, pieces), in_lines(b"".join(head)[:HEAD_BYTES])

    def _lines(self, pieces: Iterable[bytes], in_lines: bool, start: int = 0, end: int | None = None) -> Iterator[Line]:
        """Yield the lines that begin in [start, end); a line belongs to the range in which its first byte lies."""
        if not in_lines:
            yield from values(pieces, self.max_document_bytes)
            return
        numbered = lines(pieces, self.max_document_bytes, max(0, start - 1))
        if start:
            next(numbered, None)
        for line in numbered:
            if end is not None and line.start >= end:
                return
            yield line

    def _split(self, path: File) -> list[dict[str, Any]]:
        part = self.part(path)
        with path.open("rb") as handle:
            head = handle.read(6)
        marked = head.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff", b"\xef\xbb\xbf"))
        whole = compression(head) or marked or self.encoding.lower() not in ("utf-8", "utf8", "ascii")
        if whole or part["size"] <= SPLIT_BYTES or not self._pieces(path)[1]:
            return [part]
        starts = range(0, part["size"], SPLIT_BYTES)
        return [{**part, "start": start, "end": min(start + SPLIT_BYTES, part["size"])} for start in starts]

    def _check_first(self, path: File) -> None:
        """Raise InputError when none of the first records of the first file has the named fields."""
        columns: set[str] = set()
        try:
            for line in self._lines(*self._pieces(path)):
                if line.number > _PEEK_LINES:
                    break
                if line.data is not None and isinstance(record := _object(line.data), dict):
                    columns.update(record)
        except BrokenStream:
            pass  # counted when it is read
        if columns:
            self.fields(path).check(sorted(columns), str(path))


def _broken(error: BrokenStream) -> Iterator[bytes]:
    raise error
    yield


def _object(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
