"""CSV and TSV files with a header line, plain or compressed; quoted fields may hold line breaks."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from windtunnel.pipelines.readers.batches import Stated, Unreadable
from windtunnel.pipelines.readers.fields import RecordReader
from windtunnel.pipelines.readers.paths import Fingerprint
from windtunnel.pipelines.readers.streams import BrokenStream, LineCount, chunks, lines, utf8_chunks
from windtunnel.pipelines.remote.files import File
from windtunnel.pipelines.sources._source import DecodedSource, Example, RecordSource, for_each
from windtunnel.schemas.errors import InputError

_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that are not UTF-8, as "surrogateescape" keeps them


class Csv(RecordSource, DecodedSource):
    """One document a record (RFC 4180). delimiter: by default a tab in .tsv files, a comma elsewhere.

    columns: the names, for files without a header line. A record with another number of fields than the header is
    counted; a quote that never closes takes at most `max_document_bytes` of the file with it, each line counted.
    """

    version: ClassVar[int] = 2
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv")
    examples: ClassVar[tuple[Example, ...]] = (
        Example(
            {"a.csv": 'text,url\n"One, in\ntwo lines.",\nTwo.\n'}, ("One, in\ntwo lines.",), {"wrong_field_count": 1}
        ),
        Example({"a.tsv": "One.\tx\n"}, ("One.",), params={"columns": ["text", "other"]}),
    )
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    columns: tuple[str, ...] = ()

    def parts(self) -> list[dict[str, Any]]:
        files = self.files()
        for_each(files, self._check_header)
        return [self.part(path) for path in files]

    def records(self, part: dict[str, Any]) -> Iterator[Any]:
        path = Fingerprint.check(part)
        return self._rows(path, self.fields(path))

    def _rows(self, path: File, fields: RecordReader) -> Iterator[Any]:
        columns = list(self.columns)
        for where, record in self._records(path):
            if isinstance(record, Stated):
                yield Stated(record.records - (bool(columns) and not self.columns))
            elif isinstance(record, Unreadable):
                yield record._replace(source=fields.origin)
            elif not columns:
                columns = record
            elif len(record) != len(columns):
                detail = f"{len(record)} fields, the header has {len(columns)}"
                yield Unreadable(fields.origin, where, "wrong_field_count", detail)
            else:
                yield self._row(dict(zip(columns, record, strict=True)), fields, where)

    def _row(self, record: dict[str, str], fields: RecordReader, where: str) -> Any:
        wrong = [name for name, value in record.items() if not value.isascii() and _ESCAPED.search(value)]
        if wrong and self.errors == "count":
            return Unreadable(fields.origin, where, "invalid_utf8", f"in {', '.join(map(repr, wrong))}"[:200])
        for name in wrong:
            record[name] = record[name].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return fields.row(record, where, self.errors == "replace")

    def _records(self, path: File) -> Iterator[tuple[str, Any]]:
        """Yield (where, fields) of each record; an Unreadable in their place where csv or the stream fails.

        At the end of a whole file come the records that it states: its lines, without those within records.
        """
        csv.field_size_limit(self.max_document_bytes)
        source = _Lines(path, self.encoding, self.max_document_bytes)
        reader = csv.reader(source, delimiter=self._delimiter(path), strict=True)
        within = 0  # lines that begin no record: blank ones, and those behind a line break in quotes
        while True:
            first = source.number + 1
            where = f"{path.name}:{first}"
            try:
                record = next(reader)
            except StopIteration:
                yield "", Stated(source.total() - within)
                break
            except BrokenStream as error:
                yield where, Unreadable("", where, error.error, error.detail)
                break
            except csv.Error as error:
                detail = f"{error}; lines {first} to {source.number}"
                yield where, Unreadable("", where, "invalid_csv", detail, source.number - first + 1)
                continue
            within += source.number - first + (not record)
            if record:
                yield where, record

    def _delimiter(self, path: File) -> str:
        return self.delimiter or ("\t" if ".tsv" in path.suffixes else ",")

    def _check_header(self, path: File) -> None:
        columns = list(self.columns)
        if not columns:
            first = next(self._records(path), None)
            if first is None or not isinstance(first[1], list):
                return  # an empty or broken file is counted when it is read
            columns = first[1]
        if len(set(columns)) != len(columns):
            raise InputError(f"{path} has two columns of one name: {', '.join(columns)}")
        self.fields(path).check(columns, str(path))


class _Lines:
    """Lines as text for the csv module, with a count of those given out; bytes that are not UTF-8 are kept marked."""

    def __init__(self, path: File, encoding: str, limit: int) -> None:
        self.number = 0
        self._counted = LineCount(utf8_chunks(chunks(path), encoding))
        self._lines = lines(self._counted, limit)

    def total(self) -> int:
        """Return the number of lines of the file, counted apart."""
        return self._counted.total()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number = line.number
        if line.data is None:
            raise csv.Error("a line is longer than the limit for a document")
        return line.data.decode("utf-8", "surrogateescape") + "\n"
