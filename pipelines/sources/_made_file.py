"""The base class of sources that make a file of sample texts in the cache, and are read as any file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from windtunnel.pipelines.readers.batches import Remark
from windtunnel.pipelines.sources._source import RecordSource


class MadeFile(RecordSource):
    """A source that reads what `file` returns; its own parts say what the file is made of."""

    path: str | tuple[str, ...] = ""

    @abstractmethod
    def file(self) -> RecordSource:
        """Return the source that reads the file, made before if it is not there."""

    def records(self, part: dict[str, Any]) -> Iterator[Any]:
        file = self.file()
        for inner in file.parts():
            yield from file.records(inner)

    def read(self, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Remark]:
        file = self.file()
        for inner in file.parts():
            yield from file.read(inner)

    def left_out(self) -> list[Any]:
        return []
