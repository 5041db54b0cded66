"""Arrow IPC files and streams (also Feather), one row a document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from windtunnel.pipelines.readers.batches import BATCH_ROWS, Unreadable
from windtunnel.pipelines.readers.columns import documents, wanted
from windtunnel.pipelines.readers.paths import Fingerprint
from windtunnel.pipelines.remote.files import File, RemoteFile
from windtunnel.pipelines.sources._source import Example, RecordSource, for_each
from windtunnel.schemas.errors import InputError


class Arrow(RecordSource):
    """One document a row; local files are memory-mapped, so a task holds one slice of a record batch at a time.

    Datasets that the Hugging Face library saved to disk are directories of such files.
    """

    version: ClassVar[int] = 2
    suffixes: ClassVar[tuple[str, ...]] = (".arrow", ".feather", ".ipc")
    examples: ClassVar[tuple[Example, ...]] = (
        Example({"a.arrow": lambda path: _write(path, {"text": ["One.", None]})}, ("One.",), {"no_text": 1}),
    )

    def parts(self) -> list[dict[str, Any]]:
        return for_each(self.files(), self._checked)

    def _checked(self, path: File) -> dict[str, Any]:
        try:
            with _opened(path) as reader:
                self.fields(path).check(reader.schema.names, str(path))
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path} is not an Arrow IPC file or stream: {str(error)[:160]}") from error
        return Fingerprint.of(path).part()

    def read(self, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Unreadable]:
        path = Fingerprint.check(part)
        fields = self.fields(path)
        with _opened(path) as reader:
            number = 0
            try:
                for number, batch in enumerate(_batches(reader)):
                    slim = batch.select(wanted(batch.schema.names, fields))
                    for start in range(0, slim.num_rows, BATCH_ROWS):
                        yield from documents(slim.slice(start, BATCH_ROWS), fields, f"{path.name}:{number}", start)
            except (OSError, pa.ArrowException) as error:
                yield Unreadable(fields.origin, f"{path.name}:{number + 1}", "broken_arrow", str(error)[:300])


def _write(path: Path, columns: dict[str, Any]) -> None:
    table = pa.table(columns)
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


@contextmanager
def _opened(path: File) -> Iterator[Any]:
    """Yield a reader of the file format, or of the stream format where the file has no footer."""
    with pa.PythonFile(path.open(), "r") if isinstance(path, RemoteFile) else pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            reader = pa.ipc.open_stream(source)
        with reader:
            yield reader


def _batches(reader: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        return (reader.get_batch(number) for number in range(reader.num_record_batches))
    return iter(reader)
