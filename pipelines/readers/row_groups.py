"""Row groups of Parquet files, held against their footer: the rows of a damaged one are counted, the others stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.readers.batches import BATCH_BYTES, BATCH_ROWS, Stated, Unreadable
from windtunnel.pipelines.readers.columns import Slice
from windtunnel.pipelines.remote.files import BLOCK_BYTES, File, RemoteFile, seekable


def open_parquet(path: File) -> pq.ParquetFile:
    """Open a Parquet file so that no column of a row group is in memory whole: with a buffer, without reading ahead.

    Pages are held against their checksums, where the file has any.
    """
    size = BLOCK_BYTES if isinstance(path, RemoteFile) else 1 << 20
    try:
        return pq.ParquetFile(seekable(path), buffer_size=size, pre_buffer=False, page_checksum_verification=True)
    except UnicodeDecodeError as error:
        raise pa.ArrowInvalid(f"the name of a column is not UTF-8: {error}") from error


def group_bytes(footer: pq.FileMetaData) -> list[int]:
    """Return the bytes of each row group, uncompressed; raises ArrowInvalid for a footer that contradicts itself."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    rows = sum(group.num_rows for group in groups)
    if rows != footer.num_rows or any(group.num_rows < 0 or group.total_byte_size < 0 for group in groups):
        raise pa.ArrowInvalid(f"the footer says {footer.num_rows} rows, its row groups have {rows}")
    return [group.total_byte_size for group in groups]


def slices(path: File, part: dict[str, Any], origin: str, columns: list[str]) -> Iterator[Slice | Unreadable | Stated]:
    """Yield the rows of the row groups [first, end) of a part, and an Unreadable for the lost rows of each."""
    with open_parquet(path) as file:
        stated = 0
        for number in range(part["first"], part["end"]):
            group, first, why = file.metadata.row_group(number), 0, "the pages have fewer rows than the footer says"
            where = f"{path.name}:{number}"
            stated += group.num_rows
            try:
                for batch in file.iter_batches(batch_rows(group), row_groups=[number], columns=columns):
                    yield Slice(batch, where, first)
                    first += batch.num_rows
            except (OSError, pa.ArrowException) as error:
                why = str(error)
            if lost := max(0, group.num_rows - first):
                detail = f"rows {first} to {group.num_rows - 1} of row group {number}: {why}"
                yield Unreadable(origin, where, "broken_row_group", detail[:300], lost)
        yield Stated(stated)


def batch_rows(group: pq.RowGroupMetaData) -> int:
    """Return how many rows have about BATCH_BYTES, so that long rows come in small batches."""
    per_row = max(1, group.total_byte_size // max(1, group.num_rows))
    return max(1, min(BATCH_ROWS, BATCH_BYTES // per_row))
