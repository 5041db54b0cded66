"""Sources whose files hold columns: their rows in slices, with the columns of a document or with all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from windtunnel.pipelines.readers.batches import Stated, Unreadable
from windtunnel.pipelines.readers.columns import Slice, records
from windtunnel.pipelines.readers.paths import Fingerprint
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.sources._source import RecordSource


class ColumnSource(RecordSource):
    """One document a row."""

    def schema(self, path: File) -> pa.Schema:
        """Return a file's columns; raises OSError or ArrowException for a file that is none."""
        raise NotImplementedError

    def slices(self, path: File, part: dict[str, Any], columns: list[str]) -> Iterator[Slice | Unreadable | Stated]:
        """Yield the rows of a part with these columns, what cannot be read, and how many rows the file states."""
        raise NotImplementedError

    def records(self, part: dict[str, Any]) -> Iterator[Any]:
        path = Fingerprint.check(part)
        fields = self.fields(path)
        for item in self.slices(path, part, fields.wanted(self.schema(path).names)):
            if isinstance(item, Slice):
                yield from records(item, fields)
            else:
                yield item
