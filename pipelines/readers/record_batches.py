"""Record batches of Arrow IPC files and streams, held against their own headers: the rows of a damaged one count."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pyarrow as pa

from windtunnel.pipelines.readers.batches import BATCH_ROWS, Stated, Unreadable
from windtunnel.pipelines.readers.columns import Slice, check_layout, check_names
from windtunnel.pipelines.remote.files import File, RemoteFile

_FILE = b"ARROW1"
_STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_STREAM_START = 8  # a file is a stream between its name and its footer


@contextmanager
def opened(path: File) -> Iterator[Any]:
    """Yield a reader of the file format, or of the stream format where the file has no footer.

    Local files are memory-mapped. Raises OSError or ArrowException for anything else.
    """
    with pa.PythonFile(path.open(), "r") if isinstance(path, RemoteFile) else pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            reader = pa.ipc.open_stream(source)
        with reader:
            check_names(reader.schema)
            yield reader


def slices(path: File, origin: str, columns: list[str]) -> Iterator[Slice | Unreadable | Stated]:
    """Yield the rows of a file's record batches; a damaged one of a stream takes those behind it along.

    Nothing is stated of remote files, whose headers would have to be fetched with all that is between them.
    """
    lengths, whole = ([], False) if isinstance(path, RemoteFile) else _lengths(path)
    number = 0
    with opened(path) as reader:
        is_file = isinstance(reader, pa.ipc.RecordBatchFileReader)
        batches = _batches(reader)
        for number in count():
            where = f"{path.name}:{number}"
            batch = None
            try:
                if (batch := next(batches, None)) is None:
                    break
                batch = batch.select(columns)
                check_layout(batch)
            except (OSError, pa.ArrowException) as error:
                rows = lengths[number : number + 1] if is_file else lengths[number:]
                cut = 0 if is_file or whole else 1  # the batch in which a stream ends has no header that can be read
                lost = sum(rows) + cut if batch is None else batch.num_rows
                yield Unreadable(origin, where, "broken_arrow", str(error)[:300], max(1, lost))
                if batch is None and not is_file:
                    break
                batches = _batches(reader, number + 1) if is_file else batches
                continue
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield Slice(batch.slice(start, BATCH_ROWS), where, start)
    if whole and not _ends(path):
        yield Unreadable(origin, f"{path.name}:{number}", "truncated_arrow", "no end mark: batches may be missing here")
    elif whole:
        yield Stated(sum(lengths))


def _batches(reader: Any, first: int = 0) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        return (reader.get_batch(number) for number in range(first, reader.num_record_batches))
    return iter(reader)


def _lengths(path: Any) -> tuple[list[int], bool]:
    """Return the rows of each record batch by its header, and whether the headers can be followed to the end."""
    lengths = []
    with pa.memory_map(str(path)) as source:
        source.seek(_STREAM_START if source.read(len(_FILE)) == _FILE else 0)
        try:
            messages = pa.ipc.MessageReader.open_stream(source)
            for message in messages:
                if message.type == "record batch":
                    lengths.append(_length(message.metadata.to_pybytes()))
        except (OSError, pa.ArrowException, struct.error):
            return lengths, False
    return lengths, True


def _ends(path: Any) -> bool:
    """Return whether a file ends as a file or as a stream does; a stream that is cut between batches does not."""
    with path.open("rb") as handle:
        handle.seek(-min(8, os.fstat(handle.fileno()).st_size), os.SEEK_END)
        return handle.read().endswith((_FILE, _STREAM_END))


def _length(header: bytes) -> int:
    """Return the number of rows in the header of a record batch: a flatbuffer, see Message.fbs of the Arrow format."""

    def number(kind: str, at: int) -> int:
        return struct.unpack_from(f"<{kind}", header, at)[0]

    def field(table: int, slot: int) -> int:
        """Return the place of a table's field; 0 where it has its default."""
        offset = number("H", table - number("i", table) + 4 + 2 * slot)
        return table + offset if offset else 0

    message = number("I", 0)
    union = field(message, 2)
    length = field(union + number("I", union), 0)
    return number("q", length) if length else 0
