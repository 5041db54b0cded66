"""Repeated spans of text: runs of units whose keys meet are found by the same sort-and-join, and cut out.

A span that stands in several places stays in the first one, in corpus order; with an index, in none.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, field_validator

from windtunnel.pipelines.dedup._dedup import Add, Dedup, apart
from windtunnel.pipelines.dedup.matching import band_keys
from windtunnel.pipelines.dedup.matching.band_keys import read_arrays
from windtunnel.pipelines.dedup.matching.clusters import write_decisions
from windtunnel.pipelines.dedup.matching.join import SpanJoin
from windtunnel.pipelines.dedup.matching.key_index import INDEX, as_folders, check_indexes, index_notes
from windtunnel.pipelines.features.folding import FOLDING
from windtunnel.pipelines.shards.survivors import (
    alive_rows,
    batches,
    check_column,
    column,
    stored_columns,
    survivors,
    text_buffers,
)
from windtunnel.schemas.artifact import Artifact, canonical_json, write_text, writing
from windtunnel.schemas.work import Counts, Work

Unit = Literal["sentence", "line", "paragraph", "word"]
_KINDS = {"sentence": 0, "line": 1, "paragraph": 2, "word": 3}  # as in windtunnel.pipelines.features.kernels.units


class SpanDedup(Dedup):
    """Cuts out what stands elsewhere. What is left of a document must hold `min_words` words and `min_units` units.

    `min_span_words`: a cut of fewer words is not made. `within` and `index`: as for other methods.
    """

    edits: ClassVar[bool] = True
    min_words: int = Field(50, ge=0)
    min_units: int = Field(3, ge=0)
    min_span_words: int = Field(0, ge=0)
    within: str | None = None
    index: str | tuple[str, ...] | None = None

    @field_validator("within")
    @classmethod
    def _known_column(cls, name: str | None) -> str | None:
        return None if name is None else check_column(name)

    @property
    @abstractmethod
    def shape(self) -> tuple[Unit, int]:
        """Return (what a unit is, how many make a span)."""

    def comparable(self) -> dict[str, Any]:
        """Return the parameters that keys of an index must share with ours."""
        return _parameters(*self.shape, self.within)

    def steps(self, add: Add, corpus: str, documents: Any, decisions: Any | None, measures: Sequence[Any] = ()) -> Any:
        read = {"documents": documents} if decisions is None else {"documents": documents, "decisions": decisions}
        fingerprint = check_indexes(as_folders(self.index), self.comparable())
        unit, span = self.shape
        sign = SpanSign(unit=unit, span=span, within=self.within)
        keys = add(f"{self.name}_sign:{corpus}", sign, read)
        join = SpanJoin(index=self.index, index_fingerprint=fingerprint)
        found = add(f"{self.name}_join:{corpus}", join, {"keys": keys})
        return self.cut_step(add, corpus, read, found)

    def cut_step(self, add: Add, corpus: str, read: Mapping[str, Any], found: Any) -> Any:
        """Add the step that cuts what `found` names out of the documents."""
        unit, span = self.shape
        cut = Cut(
            reason=self.name,
            step=f"{self.name}:{corpus}",
            unit=unit,
            span=span,
            min_words=self.min_words,
            min_units=self.min_units,
            min_span_words=self.min_span_words,
        )
        return add(f"{self.name}:{corpus}", cut, {**read, "found": found})


def _parameters(unit: Unit, span: int, within: str | None) -> dict[str, Any]:
    """Return what an index of spans was made with, and what one must have been made with to be of use."""
    return {"method": "spans", "unit": unit, "span": span, "within": within, "folding": FOLDING}


class SpanSign(Work):
    """Makes the keys of all spans of a shard's living documents; the artifact can serve as an index."""

    version: ClassVar[int] = 3
    unit: Unit
    span: int
    within: str | None = None

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["documents"].files("documents"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        parts, documents, seen, size = [], 0, 0, 0
        for key, row, unit, rows, alive, held in self._batches(inputs, rank):
            parts.append((key, row, unit))
            documents, seen, size = documents + rows, seen + alive, size + held
        empty = (np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty(0, np.uint32))
        key, row, unit = (np.concatenate([empty[i], *(part[i] for part in parts)]) for i in range(3))
        path = out / band_keys.FOLDER / f"{rank:05d}.arrow"
        band_keys.write(path, key[np.newaxis], row, None, documents, unit=unit)
        return Counts(seen=seen, kept=seen, bytes=size, notes={"spans": len(key)})

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        parameters = _parameters(self.unit, self.span, self.within)
        write_text(out / INDEX, canonical_json(index_notes(out, parameters)))

    def _batches(self, inputs: Mapping[str, Artifact], rank: int) -> Iterator[tuple[Any, ...]]:
        from windtunnel.pipelines.features.folding import table
        from windtunnel.pipelines.features.kernels.units import span_keys

        kind = _KINDS[self.unit]
        for batch in survivors(inputs, rank, stored_columns(["text", *([self.within] if self.within else [])])):
            data, offsets = text_buffers(batch.rows.column("text"))
            key, row, unit = span_keys(data, offsets, batch.alive, kind, self.span, *table())
            if self.within:
                values = column(batch.rows, self.within).take(pa.array(row))
                key = apart(key[np.newaxis], values)[0]
            rows, alive = batch.rows.num_rows, int(batch.alive.sum())
            yield key, (row + batch.first).astype(np.uint32), unit, rows, alive, batch.rows.nbytes


class Cut(Work):
    """Cuts the named spans out of the documents of a shard, and drops documents of which too little is left.

    Inputs: `documents`, `decisions` if any, `found` (`removed/*.arrow`: document number, first unit). Writes
    `documents/` (all rows, ids as they were), `decisions/` and `cuts/` (id, bytes before and after).
    """

    version: ClassVar[int] = 2
    reason: str
    step: str
    unit: Unit
    span: int
    min_words: int
    min_units: int
    min_span_words: int

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["documents"].files("documents"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        files = inputs["documents"].files("documents")
        starts = np.cumsum([0, *(pq.read_metadata(file).num_rows for file in files)])
        spans = _spans_between(inputs["found"], int(starts[rank]), int(starts[rank + 1]))
        alive = alive_rows(inputs, rank)
        count = int(starts[rank + 1] - starts[rank])
        gone, cuts = np.zeros(count, bool), {}
        schema = pq.read_schema(files[rank])
        with (
            writing(out / "documents" / f"{rank:05d}.parquet") as partial,
            pq.ParquetWriter(partial, schema, compression="zstd") as writer,
        ):
            first = 0
            for rows in batches(files[rank], schema.names):
                writer.write_batch(self._mended(rows, first, spans, gone, cuts))
                first += rows.num_rows
        ids = pq.read_table(files[rank], columns=["id"])["id"]
        self._write_cuts(out, rank, ids, cuts)
        counts = write_decisions(
            inputs, out, rank, ids, gone if alive is None else gone & alive, self.reason, self.step
        )
        removed = sum(before - after for before, after in cuts.values())
        return counts.model_copy(update={"notes": {"documents_cut": len(cuts), "bytes_cut": removed}})

    def _mended(
        self, rows: pa.RecordBatch, first: int, spans: dict[int, np.ndarray], gone: np.ndarray, cuts: dict[int, Any]
    ) -> pa.RecordBatch:
        """Return the batch with spans cut out; mark rows of which too little is left, and note what was cut."""
        here = [row for row in range(rows.num_rows) if first + row in spans]
        if not here:
            return rows
        from windtunnel.pipelines.features.folding import table
        from windtunnel.pipelines.features.kernels.units import without_spans

        texts = rows.column("text").to_pylist()
        data, offsets = text_buffers(rows.column("text"))
        for row in here:
            start, end = int(offsets[row]), int(offsets[row + 1])
            out = np.empty(end - start, np.uint8)
            kind, wanted = _KINDS[self.unit], spans[first + row]
            written, left_out, words, units = without_spans(
                data, start, end, kind, self.span, wanted, self.min_span_words, *table(), out
            )
            if left_out == 0:
                continue
            if words < max(1, self.min_words) or units < self.min_units:
                gone[first + row] = True  # the text stays whole in what was dropped
                continue
            texts[row] = bytes(out[:written]).decode("utf-8", "replace").strip()
            cuts[first + row] = (end - start, len(texts[row].encode()))
        place = rows.schema.get_field_index("text")
        field = rows.schema.field(place)
        return rows.set_column(place, field, pa.array(texts, field.type))

    def _write_cuts(self, out: Path, rank: int, ids: pa.ChunkedArray, cuts: dict[int, tuple[int, int]]) -> None:
        where = sorted(cuts)
        columns = {
            "id": ids.take(pa.array(where, pa.int64())),
            "bytes_before": pa.array([cuts[row][0] for row in where], pa.int64()),
            "bytes_after": pa.array([cuts[row][1] for row in where], pa.int64()),
        }
        with writing(out / "cuts" / f"{rank:05d}.parquet") as partial:
            pq.write_table(pa.table(columns), partial, compression="zstd")


def _spans_between(found: Artifact, low: int, high: int) -> dict[int, np.ndarray]:
    """Return the first units of spans to cut, sorted, by row of the shard whose documents are numbered low to high."""
    documents, units = [], []
    for file in found.files("removed", ".arrow"):
        arrays, _ = read_arrays(file)
        cut = slice(*np.searchsorted(arrays["document"], [low, high]))
        documents.append(arrays["document"][cut].astype(np.int64))
        units.append(arrays["unit"][cut])
    document, unit = (
        np.concatenate([np.empty(0, np.int64), *documents]),
        np.concatenate([np.empty(0, np.uint32), *units]),
    )
    order = np.lexsort((unit, document))
    document, unit = document[order], unit[order].astype(np.int64)
    rows, at = np.unique(document, return_index=True)
    return dict(zip((rows - low).tolist(), np.split(unit, at[1:]), strict=True)) if len(rows) else {}
