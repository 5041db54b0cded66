"""Plain text files, one file a document; small files are read many to a task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa

from windtunnel.pipelines.readers.batches import Remark, Row, Stated, Unreadable, batches
from windtunnel.pipelines.readers.paths import shown
from windtunnel.pipelines.readers.streams import BrokenStream, chunks, utf8_chunks
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.sources._file_groups import GroupedSource
from windtunnel.pipelines.sources._source import DecodedSource, Example


class Text(GroupedSource, DecodedSource):
    """One document a file; the file's path is in `meta`. Compressed files are read as what they hold."""

    version: ClassVar[int] = 2
    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".text", ".md", ".rst")
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"a.txt": "One.\nTwo.", "b.md": "Three.", "c.txt": b""}, ("One.\nTwo.", "Three."), {"empty_text": 1}),
        Example({"a.txt": b"caf\xe9"}, (), {"invalid_utf8": 1}),
        Example({"a.txt": b"caf\xe9"}, ("caf\u00e9",), params={"encoding": "cp1252"}),
    )

    def read(self, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Remark]:
        yield from batches(self._row(path) for path in self.group(part))
        yield Stated(part["files"])

    def _row(self, path: File) -> Row | Unreadable:
        origin, where = self.group_origin(path), shown(path)
        data, size = [], 0
        try:
            for piece in utf8_chunks(chunks(path), self.encoding):
                size += len(piece)
                if size > self.max_document_bytes:
                    return Unreadable(origin, where, "too_large", f"more than {self.max_document_bytes} bytes")
                data.append(piece)
            text = b"".join(data).decode("utf-8", "replace" if self.errors == "replace" else "strict")
        except BrokenStream as error:
            return Unreadable(origin, where, error.error, error.detail)
        except UnicodeDecodeError as error:
            return Unreadable(origin, where, "invalid_utf8", str(error)[:200])
        if not text:
            return Unreadable(origin, where, "empty_text", None)
        return Row(text, origin, meta={"file": where})
