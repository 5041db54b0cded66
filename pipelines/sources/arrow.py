"""Arrow IPC files and streams (also Feather), one row a document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from windtunnel.pipelines.readers.batches import Stated, Unreadable
from windtunnel.pipelines.readers.columns import Slice
from windtunnel.pipelines.readers.record_batches import opened, slices
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.sources._columnar import ColumnSource
from windtunnel.pipelines.sources._source import Example, for_each
from windtunnel.schemas.errors import InputError


class Arrow(ColumnSource):
    """One document a row; local files are memory-mapped, so a task holds one slice of a record batch at a time.

    Datasets that the Hugging Face library saved to disk are directories of such files.
    """

    version: ClassVar[int] = 3
    suffixes: ClassVar[tuple[str, ...]] = (".arrow", ".feather", ".ipc")
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"a.arrow": lambda path: _write(path, {"text": ["One.", None]})}, ("One.",), {"no_text": 1}),
    )

    def parts(self) -> list[dict[str, Any]]:
        return for_each(self.files(), self._checked)

    def _checked(self, path: File) -> dict[str, Any]:
        try:
            self.fields(path).check(self.schema(path).names, str(path))
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path} is not an Arrow IPC file or stream: {str(error)[:160]}") from error
        return self.part(path)

    def schema(self, path: File) -> pa.Schema:
        with opened(path) as reader:
            return reader.schema

    def slices(self, path: File, part: dict[str, Any], columns: list[str]) -> Iterator[Slice | Unreadable | Stated]:
        return slices(path, self.origin(path), columns)


def _write(path: Path, columns: dict[str, Any]) -> None:
    table = pa.table(columns)
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
