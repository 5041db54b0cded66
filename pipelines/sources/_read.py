"""The step that reads a source: parts become shards of documents, and whatever cannot be read is written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.readers.batches import Unreadable
from windtunnel.pipelines.sources._source import Source
from windtunnel.schemas.artifact import PARQUET, Artifact, canonical_json, write_text, writing
from windtunnel.schemas.errors import InputError, WindtunnelError
from windtunnel.schemas.plugin import errors_of, full_spec, label, make
from windtunnel.schemas.records import DOCUMENT, UNREADABLE
from windtunnel.schemas.work import Counts, Work

ORIGINS = "origins.json"


class Read(Work):
    """Reads each part of a source into `documents/NNNNN.parquet` and `unreadable/NNNNN.parquet`.

    The parts, with the fingerprints of their bytes, are part of the configuration: changed files are read anew, the
    same files never. Within one source equal texts have equal ids; later steps are row-aligned, so that is harmless.
    """

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
        kept = size = 0
        plugin = self.plugin()
        lost: Counter[str] = Counter()
        with (
            writing(out / "documents" / f"{rank:05}.parquet") as documents_path,
            writing(out / "unreadable" / f"{rank:05}.parquet") as unreadable_path,
            pq.ParquetWriter(documents_path, DOCUMENT, **PARQUET) as documents,
            pq.ParquetWriter(unreadable_path, UNREADABLE, **PARQUET) as unreadable,
        ):
            held: list[Unreadable] = []
            for item in items(plugin, self.parts[rank]):
                if not isinstance(item, Unreadable):
                    documents.write_batch(item)
                    kept += item.num_rows
                    size += text_bytes(item)
                    continue
                lost[item.error] += 1
                held.append(item)
                if len(held) == 10_000:
                    unreadable.write_table(_table(held))
                    held = []
            unreadable.write_table(_table(held))
        seen = kept + lost.total()
        counts = Counts(seen=seen, kept=kept, unreadable=dict(sorted(lost.items())), bytes=size)
        for word in ("licence", "origin"):  # as notes they stand in the manifest, which goes wherever the data goes
            if said := "; ".join(f"{about['name']}: {about[word]}" for about in plugin.origins() if about.get(word)):
                counts.notes[word] = said
        return counts.check(f"read {rank}")

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        """Write all that is known of licence and origin, for cards and the report."""
        write_text(out / ORIGINS, canonical_json(self.plugin().origins()))


def read_work(spec: Any) -> Read:
    """Return the step for a recipe's source: looks at the files, so InputError and RecipeError are possible."""
    source = make(Source, spec)
    ((name, params),) = full_spec(source).items()
    parts = source.parts()
    if not isinstance(parts, list | tuple) or not all(isinstance(part, dict) for part in parts):
        raise WindtunnelError(f"source {label(source)!r}: parts() gives {_kind(parts)}, not a list of dicts")
    return Read(source=name, params=params, parts=tuple(parts))


def items(source: Source, part: dict[str, Any]) -> Iterator[pa.RecordBatch | Unreadable]:
    """Yield what a source reads from a part.

    Raises WindtunnelError that names source and part for what is neither documents nor Unreadable, and where the
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


def _table(rows: list[Unreadable]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, UNREADABLE, strict=True)], schema=UNREADABLE
    )
