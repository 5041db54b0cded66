"""What every source is: it says its parts at plan time, and reads one part into bounded batches of documents."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar

import pyarrow as pa
from pydantic import Field, PrivateAttr, field_validator

from windtunnel.pipelines.readers.batches import Remark, batches
from windtunnel.pipelines.readers.fields import Fields, RecordReader
from windtunnel.pipelines.readers.listing import LeftOut, listed
from windtunnel.pipelines.readers.paths import Fingerprint, origin_of, shown
from windtunnel.pipelines.remote.address import checked
from windtunnel.pipelines.remote.files import File, RemoteFile
from windtunnel.schemas.artifact import canonical_json
from windtunnel.schemas.plugin import Plugin

SPLIT_BYTES = 64 << 20
DOCUMENT_BYTES = 64 << 20
PLACE_CHARACTERS = 200
REQUESTS = 16  # at once, to look into remote files while the plan is made

T = TypeVar("T")


FILES = "{files}"  # in the parameters of an example: the directory of its files


class Example(NamedTuple):
    """Files and the documents that a source reads from them; `windtunnel check source NAME` runs it.

    files: name -> content, or a function that writes the path it is given. texts: of the documents in order; None:
    not compared. params: beside the primary one, which is the directory of the files unless it is given.
    """

    files: Mapping[str, str | bytes | Callable[[Path], Any]]
    texts: tuple[str, ...] | None
    unreadable: Mapping[str, int] = {}  # reason code -> number
    params: Mapping[str, Any] = {}

    @property
    def shown(self) -> str:
        """The names of the files and the parameters."""
        return f"{', '.join(self.files) or 'no file'}{f' with {dict(self.params)}' if self.params else ''}"


class Source(Plugin):
    """Text from outside.

    `parts()` runs when a recipe is planned: it returns JSON-able shards, each with a fingerprint of its bytes, and
    raises InputError or RecipeError when there is nothing to read. `read(part)` runs in a worker and yields record
    batches of DOCUMENT, at most about 16 MB of text each, and an Unreadable for whatever could not be read. It may also
    yield how many records a file states (Stated), which the step holds against what came, and Notes for the manifest.
    """

    examples: ClassVar[tuple[Example, ...]] = ()

    def parts(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def read(self, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Remark]:
        raise NotImplementedError

    def place(self, part: dict[str, Any]) -> str:
        """Return what a part is called in errors: its file, or what the plan says of it."""
        return shown(str(part["path"])) if "path" in part else canonical_json(part)[:PLACE_CHARACTERS]

    def origins(self) -> list[dict[str, Any]]:
        """Return what is known of licence and origin, for manifests and cards; nothing by default."""
        return []

    def left_out(self) -> list[LeftOut]:
        """Return what lies in the directories that the source reads and is not read; nothing by default."""
        return []


class FileSource(Source):
    """Text in the user's files, local or remote.

    path: a file, a directory (read recursively) or a glob, or a list of them; also as an address that fsspec opens
    (`s3://bucket/folder/*.jsonl.zst`), with credentials from the configuration of the file system. name: what the
    documents' `source` column says; by default the file's name without its endings and shard numbers.
    max_document_bytes: a longer document is counted as unreadable, so that one line cannot take the machine's memory.
    content_hash: by default a file is the same as before while its size and its time of change are; true reads every
    file whenever the recipe is planned (about a second per GB) and takes its bytes into account too.
    """

    primary: ClassVar[str | None] = "path"
    suffixes: ClassVar[tuple[str, ...]] = ()

    path: str | tuple[str, ...]
    name: str | None = None
    max_document_bytes: int = Field(default=DOCUMENT_BYTES, gt=0)
    content_hash: bool = False

    @field_validator("path")
    @classmethod
    def _addresses(cls, path: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for place in [path] if isinstance(path, str) else path:
            checked(place)
        return path

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return the file endings that are read from a directory; those of compressed files are read too."""
        return {"endings": list(cls.suffixes)}

    def files(self) -> list[File]:
        """Return the files in name order; raises InputError for a missing path and for an empty directory."""
        return listed(self.path, self.suffixes).files

    def left_out(self) -> list[LeftOut]:
        return listed(self.path, self.suffixes).left_out

    def origin(self, path: File) -> str:
        return self.name or origin_of(path)

    def parts(self) -> list[dict[str, Any]]:
        return [self.part(path) for path in self.files()]

    def part(self, path: File, **more: Any) -> dict[str, Any]:
        """Return the part of a plan that is one file, with its fingerprint."""
        return Fingerprint.of(path, self.content_hash).part(**more)


def for_each(files: Sequence[File], look: Callable[[File], T]) -> list[T]:
    """Return what `look` returns for every file, in order; into remote files it looks several at once."""
    if not any(isinstance(file, RemoteFile) for file in files):
        return [look(file) for file in files]
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(look, files))


class DecodedSource(FileSource):
    """Files of characters. errors: bytes that are not of the encoding are counted, or replaced by U+FFFD."""

    encoding: str = "utf-8"
    errors: Literal["count", "replace"] = "count"

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            "a".encode(encoding)  # refuses codecs that give no text, such as hex
            codecs.getincrementaldecoder(encoding)
        except (LookupError, ValueError):
            raise ValueError(f"no text encoding is called {encoding!r}: utf-8, utf-16, cp1252, ...") from None
        return encoding


class RecordSource(FileSource):
    """Files of records with named fields.

    text, url, lang: the fields that hold them. source: the field that names each document's origin, instead of the
    file's name. meta: true carries all other fields into the `meta` column, a list carries those, false none.
    """

    text: str = "text"
    url: str | None = "url"
    lang: str | None = "lang"
    source: str | None = None
    meta: bool | tuple[str, ...] = True
    _reader: Callable[[Fields], RecordReader] | None = PrivateAttr(None)

    def reading(self, reader: Callable[[Fields], RecordReader]) -> Self:
        """Return the source with its records read by what `reader` makes of the fields of a file."""
        copy = self.model_copy()
        copy._reader = reader
        return copy

    def fields(self, path: File) -> RecordReader:
        """Return what reads the records of one file: as documents, unless `reading` has said otherwise."""
        fields = Fields(
            self.text, self.url, self.lang, self.source, self.meta, self.origin(path), self.max_document_bytes
        )
        return fields if self._reader is None else self._reader(fields)

    def records(self, part: dict[str, Any]) -> Iterator[Any]:
        """Yield what `fields` reads from every record of a part, and remarks in between."""
        raise NotImplementedError

    def read(self, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Remark]:
        return batches(self.records(part))
