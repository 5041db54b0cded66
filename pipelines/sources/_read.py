"""The step that reads a source: parts become shards of documents, and whatever cannot be read is written down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.readers.batches import Note, Remark, Stated, Unreadable
from windtunnel.pipelines.readers.listing import summary
from windtunnel.pipelines.sources._books import Books, check_any_read
from windtunnel.pipelines.sources._source import Source
from windtunnel.schemas.artifact import PARQUET, Artifact, canonical_json, write_text, writing
from windtunnel.schemas.errors import InputError, WindtunnelError
from windtunnel.schemas.plugin import errors_of, full_spec, label, make
from windtunnel.schemas.records import DOCUMENT
from windtunnel.schemas.work import Counts, Work

ORIGINS = "origins.json"
NOT_READ = "not_read"  # the note of what lies beside the files and is none of them


class Read(Work):
    """Reads each part of a source into `documents/NNNNN.parquet` and `unreadable/NNNNN.parquet`.

    The parts, with the fingerprints of their bytes, are part of the configuration: changed files are read anew, the
    same files never. Within one source equal texts have equal ids; later steps are row-aligned, so that is harmless.
    """

    version: ClassVar[int] = 2
    source: str
    params: dict[str, Any]
    parts: tuple[dict[str, Any], ...]

    def plugin(self) -> Source:
        return make(Source, {self.source: self.params})

    def plugins(self) -> list[Source]:
        return [self.plugin()]

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(self.parts)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        plugin = self.plugin()
        with (
            Books(out, rank) as books,
            writing(out / "documents" / f"{rank:05}.parquet") as path,
            pq.ParquetWriter(path, DOCUMENT, **PARQUET) as documents,
        ):
            for item in items(plugin, self.parts[rank]):
                if isinstance(item, Remark):
                    books.remark(item)
                else:
                    documents.write_batch(item)
                    books.keep(item.num_rows, text_bytes(item))
        counts = books.counts(plugin.place(self.parts[rank]))
        for word in ("licence", "origin"):  # as notes they stand in the manifest, which goes wherever the data goes
            if said := "; ".join(f"{about['name']}: {about[word]}" for about in plugin.origins() if about.get(word)):
                counts.notes[word] = said
        if rank == 0 and (left_out := summary(plugin.left_out())):
            counts.notes[NOT_READ] = left_out
        return counts.check(f"read {rank}")

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        """Write all that is known of licence and origin, for cards and the report.

        Raises InputError where nothing at all could be read.
        """
        check_any_read(out)
        write_text(out / ORIGINS, canonical_json(self.plugin().origins()))


def read_work(spec: Any) -> Read:
    """Return the step for a recipe's source: looks at the files, so InputError and RecipeError are possible."""
    source = make(Source, spec)
    ((name, params),) = full_spec(source).items()
    parts = source.parts()
    if not isinstance(parts, list | tuple) or not all(isinstance(part, dict) for part in parts):
        raise WindtunnelError(f"source {label(source)!r}: parts() gives {_kind(parts)}, not a list of dicts")
    return Read(source=name, params=params, parts=tuple(parts))


def items(source: Source, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Remark]:
    """Yield what a source reads from a part.

    Raises WindtunnelError that names source and part for what is neither documents nor a remark, and where the
    source's code fails.
    """
    place = source.place(part)
    try:
        with errors_of(source, f"reading {place}"):
            batches = source.read(part)
            if not isinstance(batches, Iterable):
                raise TypeError(f"read() gives {_kind(batches)}, not an iterator of batches")
            for item in batches:
                if wrong := _wrong(item):
                    raise TypeError(f"read() yields {wrong}")
                yield item
    except InputError as error:
        if "path" not in part or place in str(error):
            raise
        raise InputError(f"{place}: {error}") from error


def _wrong(item: Any) -> str:
    """Return what is wrong with an item that a source yields, an empty string if nothing."""
    if isinstance(item, Unreadable):
        unfit = not all(isinstance(word, str) for word in item[:3])
        return "an Unreadable whose source, place or reason is not text" if unfit else ""
    if isinstance(item, Stated | Note):
        return ""
    if not isinstance(item, pa.RecordBatch):
        return f"{_kind(item)}, not a RecordBatch of documents or an Unreadable"
    for name in ("id", "text", "source"):
        if name in item.schema.names and item.column(name).null_count:
            return f"documents without {name!r}"
    if item.schema != DOCUMENT:
        columns = ", ".join(f"{field.name}: {field.type}" for field in item.schema)
        return f"a batch with the columns {columns}; documents have the schema windtunnel.schemas.records.DOCUMENT"
    return ""


def _kind(value: Any) -> str:
    return "None" if value is None else f"{type(value).__name__} {str(value)[:60]!r}"


def text_bytes(batch: pa.RecordBatch) -> int:
    """Return the bytes of UTF-8 text in a batch of DOCUMENT."""
    text = batch.column("text")
    ends = np.frombuffer(text.buffers()[1], np.int64)
    return int(ends[text.offset + len(text)] - ends[text.offset])
