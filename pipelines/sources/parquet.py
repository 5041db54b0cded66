"""Parquet files, one row a document; large files are read by row groups in several tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.readers.batches import BATCH_BYTES, BATCH_ROWS, Unreadable
from windtunnel.pipelines.readers.columns import documents, open_parquet, wanted
from windtunnel.pipelines.readers.paths import Fingerprint
from windtunnel.pipelines.remote.files import File, seekable
from windtunnel.pipelines.sources._source import SPLIT_BYTES, Example, RecordSource, for_each
from windtunnel.schemas.errors import InputError

EXAMPLE = {"text": ["One.", None]}


class Parquet(RecordSource):
    """One document a row.

    A file whose footer cannot be read stops the plan with its name (`broken: stop`) or is counted and left out
    (`broken: count`). A damaged row group is counted as one unreadable record that says how many rows it had.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"a.parquet": lambda path: pq.write_table(pa.table(EXAMPLE), path)}, ("One.",), {"no_text": 1}),
        Example({"a.parquet": "no Parquet"}, (), {"broken_parquet": 1}, {"broken": "count"}),
    )
    broken: Literal["stop", "count"] = "stop"

    def parts(self) -> list[dict[str, Any]]:
        return [part for parts in for_each(self.files(), self._split) for part in parts]

    def read(self, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Unreadable]:
        path = Fingerprint.check(part)
        fields = self.fields(path)
        if "error" in part:
            yield Unreadable(fields.origin, path.name, "broken_parquet", part["error"])
            return
        with open_parquet(path) as file:
            columns = wanted(file.schema_arrow.names, fields)
            for group in range(part["first"], part["end"]):
                about = file.metadata.row_group(group)
                rows = 0
                try:
                    batches = file.iter_batches(batch_rows(about), row_groups=[group], columns=columns)
                    for batch in batches:
                        yield from documents(batch, fields, f"{path.name}:{group}", rows)
                        rows += batch.num_rows
                except (OSError, pa.ArrowException) as error:
                    detail = f"rows {rows} to {about.num_rows - 1} of row group {group}: {error}"
                    yield Unreadable(fields.origin, f"{path.name}:{group}", "broken_row_group", detail[:300])

    def _split(self, path: File) -> list[dict[str, Any]]:
        part = Fingerprint.of(path).part()
        try:
            with pq.ParquetFile(seekable(path)) as file:
                self.fields(path).check(file.schema_arrow.names, str(path))
                groups = [file.metadata.row_group(g).total_byte_size for g in range(file.metadata.num_row_groups)]
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


def batch_rows(group: pq.RowGroupMetaData) -> int:
    """Return how many rows have about BATCH_BYTES, so that long rows come in small batches."""
    per_row = max(1, group.total_byte_size // max(1, group.num_rows))
    return max(1, min(BATCH_ROWS, BATCH_BYTES // per_row))
