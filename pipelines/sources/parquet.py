"""Parquet files, one row a document; large files are read by row groups in several tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.readers.batches import Stated, Unreadable
from windtunnel.pipelines.readers.columns import Slice
from windtunnel.pipelines.readers.paths import Fingerprint
from windtunnel.pipelines.readers.row_groups import group_bytes, open_parquet, slices
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.sources._columnar import ColumnSource
from windtunnel.pipelines.sources._source import SPLIT_BYTES, Example, for_each
from windtunnel.schemas.errors import InputError

EXAMPLE = {"text": ["One.", None]}


class Parquet(ColumnSource):
    """One document a row.

    A file whose footer cannot be read stops the plan with its name (`broken: stop`) or is counted and left out
    (`broken: count`). The rows of a damaged row group that cannot be read are counted, by the file's footer.
    """

    version: ClassVar[int] = 2
    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"a.parquet": lambda path: pq.write_table(pa.table(EXAMPLE), path)}, ("One.",), {"no_text": 1}),
        Example({"a.parquet": "no Parquet"}, (), {"broken_parquet": 1}, {"broken": "count"}),
    )
    broken: Literal["stop", "count"] = "stop"

    def parts(self) -> list[dict[str, Any]]:
        return [part for parts in for_each(self.files(), self._split) for part in parts]

    def schema(self, path: File) -> pa.Schema:
        with open_parquet(path) as file:
            return file.schema_arrow

    def slices(self, path: File, part: dict[str, Any], columns: list[str]) -> Iterator[Slice | Unreadable | Stated]:
        return slices(path, part, self.origin(path), columns)

    def records(self, part: dict[str, Any]) -> Iterator[Any]:
        if "error" in part:
            path = Fingerprint.check(part)
            yield Unreadable(self.origin(path), path.name, "broken_parquet", part["error"])
        else:
            yield from super().records(part)

    def _split(self, path: File) -> list[dict[str, Any]]:
        part = self.part(path)
        try:
            with open_parquet(path) as file:
                self.fields(path).check(file.schema_arrow.names, str(path))
                groups = group_bytes(file.metadata)
        except (OSError, pa.ArrowException) as error:
            if self.broken == "count":
                return [{**part, "error": str(error)[:200]}]
            raise InputError(
                f"{path} is not a whole Parquet file ({str(error)[:120]}): fetch it again, leave it out, or set "
                "`broken: count` to count it as unreadable and go on"
            ) from error
        return [{**part, "first": first, "end": end} for first, end in _runs(groups)]


def _runs(sizes: list[int]) -> Iterator[tuple[int, int]]:
    """Yield [first, end) of row groups that together have about SPLIT_BYTES."""
    first = size = 0
    for group, more in enumerate(sizes):
        size += more
        if size >= SPLIT_BYTES or group == len(sizes) - 1:
            yield first, group + 1
            first, size = group + 1, 0
    if not sizes:
        yield 0, 0
