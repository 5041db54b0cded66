"""Reads text files whose documents are set apart by lines of `===`.

In a recipe: `corpora: {NAME: {source: {./new_part.py:NewPart: texts/}}}`
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa

from windtunnel.pipelines.readers.batches import Row, Unreadable, batches
from windtunnel.pipelines.readers.paths import Fingerprint
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.sources._source import Example, FileSource


class NewPart(FileSource):
    """One document between two lines of `===`; a part without text is counted as unreadable."""

    version: ClassVar[int] = 1  # raise it whenever the same files give other documents
    suffixes: ClassVar[tuple[str, ...]] = (".parts",)  # of the files that a directory stands for

    # Files and what is read from them: `windtunnel check source ./new_part.py:NewPart` runs them.
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"a.parts": "One.\n===\n\n===\nTwo,\nthree.\n"}, ("One.", "Two,\nthree."), {"empty_text": 1}),
    )

    def read(self, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Unreadable]:
        """Yield the documents of one of `parts()`, which a FileSource makes one a file."""
        return batches(self._rows(Fingerprint.check(part)))

    def _rows(self, path: File) -> Iterator[Row | Unreadable]:
        with path.open("rb") as file:
            content: Any = file.read()
        for number, text in enumerate(content.decode("utf-8").split("===\n")):
            if text.strip():
                yield Row(text.strip(), self.origin(path))
            else:
                yield Unreadable(self.origin(path), f"{path.name}:{number}", "empty_text")
