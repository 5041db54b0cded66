"""Reads text files whose documents are set apart by lines of `===`.

In a recipe: `corpora: {NAME: {source: {./new_part.py:NewPart: texts/}}}`
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa

from windtunnel.pipelines.readers.batches import Row, Unreadable, batches
from windtunnel.pipelines.readers.paths import Fingerprint
from windtunnel.pipelines.readers.streams import BrokenStream, chunks
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.sources._source import Example, FileSource


class NewPart(FileSource):
    """One document between two lines of `===`; one without text, or that is not UTF-8, is counted as unreadable."""

    version: ClassVar[int] = 1  # raise it whenever the same files give other documents
    suffixes: ClassVar[tuple[str, ...]] = (".parts",)  # of the files that a directory stands for

    # Files and what is read from them: `windtunnel check source ./new_part.py:NewPart` runs them.
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"a.parts": "One.\n===\n\n===\nTwo,\nthree.\n"}, ("One.", "Two,\nthree."), {"empty_text": 1}),
        Example({"a.parts": b"caf\xe9\n===\nTwo.\n"}, ("Two.",), {"invalid_utf8": 1}),
    )

    def read(self, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Unreadable]:
        """Yield the documents of one of `parts()`, which a FileSource makes one a file."""
        return batches(self._rows(Fingerprint.check(part)))

    def _rows(self, path: File) -> Iterator[Row | Unreadable]:
        try:
            content = b"".join(chunks(path))  # of a compressed file, what it holds
        except BrokenStream as error:
            yield Unreadable(self.origin(path), path.name, error.error, error.detail)
            return
        for number, data in enumerate(content.split(b"===\n")):
            yield self._row(data, self.origin(path), f"{path.name}:{number}")

    def _row(self, data: bytes, origin: str, where: str) -> Row | Unreadable:
        """Return a document, or why there is none: an error raised here would end the run."""
        if len(data) > self.max_document_bytes:
            return Unreadable(origin, where, "too_large", f"{len(data)} bytes")
        try:
            text = data.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            return Unreadable(origin, where, "invalid_utf8", str(error))
        return Row(text, origin) if text else Unreadable(origin, where, "empty_text")
