"""Repeated spans of text: runs of units with equal keys are joined by sorting, as documents are, and cut out.

The first occurrence of a span in the corpus stays; with an index, no occurrence of a span that the index has.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from windtunnel.pipelines.dedup._dedup import Add, IndexedDedup, KeyWork, Signed, apart, inputs_of
from windtunnel.pipelines.dedup.matching.band_keys import read_arrays
from windtunnel.pipelines.dedup.matching.join import SpanJoin
from windtunnel.pipelines.features.buffers import text_buffers
from windtunnel.pipelines.features.folding import FOLDING, table
from windtunnel.pipelines.shards.columns import column
from windtunnel.pipelines.shards.reader import BATCH_ROWS, Batch, Shard, ShardWork
from windtunnel.pipelines.shards.writer import replaced, shard_writer, write_drops, write_table
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.work import Counts

Unit = Literal["sentence", "line", "paragraph", "word"]
_KINDS = {"sentence": 0, "line": 1, "paragraph": 2, "word": 3}  # as in windtunnel.pipelines.features.kernels.units


class SpanDedup(IndexedDedup):
    """Cut repeated spans out. What is left of a document must have `min_words` words and `min_units` units.

    `min_span_words`: a cut of fewer words is not made.
    """

    edits: ClassVar[bool] = True
    min_words: int = Field(50, ge=0)
    min_units: int = Field(3, ge=0)
    min_span_words: int = Field(0, ge=0)

    @property
    @abstractmethod
    def shape(self) -> tuple[Unit, int]:
        """Return (what a unit is, how many make a span)."""

    def comparable(self) -> dict[str, Any]:
        return _comparable(*self.shape, self.within)

    def steps(self, add: Add, corpus: str, documents: Any, decisions: Any | None, measures: Sequence[Any] = ()) -> Any:
        read, join = inputs_of(documents, decisions), SpanJoin(**self.joining())
        unit, span = self.shape
        keys = add(f"{self.name}_sign:{corpus}", SpanSign(unit=unit, span=span, within=self.within), read)
        return self.cut_step(add, corpus, read, add(f"{self.name}_join:{corpus}", join, {"keys": keys}))

    def cut_step(self, add: Add, corpus: str, read: Mapping[str, Any], repeated: Any) -> Any:
        """Add the step that cuts the spans of `repeated` (an artifact with `removed/`) out of the documents."""
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
        return add(f"{self.name}:{corpus}", cut, {**read, "found": repeated})


def _comparable(unit: Unit, span: int, within: str | None) -> dict[str, Any]:
    """Return the parameters that keys of spans must share."""
    return {"method": "spans", "unit": unit, "span": span, "within": within, "folding": FOLDING}


class SpanSign(KeyWork):
    """The keys of all spans of documents."""

    version: ClassVar[int] = 3
    unit: Unit
    span: int
    within: str | None = None

    def comparable(self) -> dict[str, Any]:
        return _comparable(self.unit, self.span, self.within)

    def reads(self) -> tuple[list[str], list[str]]:
        return ["text", *([self.within] if self.within else [])], []

    def sign(self, batch: Batch) -> Signed:
        from windtunnel.pipelines.features.kernels.units import span_keys

        data, offsets = text_buffers(batch.rows.column("text"))
        key, row, unit = span_keys(data, offsets, batch.alive, _KINDS[self.unit], self.span, *table())
        key = key[np.newaxis]
        if self.within:
            key = apart(key, column(batch.rows, self.within).take(pa.array(row)))
        return Signed(key, (row + batch.first).astype(np.uint32), unit=unit)

    def notes(self, documents: int, keys: int) -> dict[str, float | int | str]:
        return {"spans": keys}


class Cut(ShardWork):
    """Cut spans out of the documents of a shard, and drop documents of which too little is left.

    Inputs: `documents`, `decisions` if any, `found` (`removed/*.arrow`: document number, first unit). Writes
    `documents/` (all rows, ids as they were), `decisions/` and `cuts/` (id, bytes before and after).
    """

    version: ClassVar[int] = 3
    reason: str
    step: str
    unit: Unit
    span: int
    min_words: int
    min_units: int
    min_span_words: int

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        shard = Shard(inputs, rank)
        spans = _spans_between(inputs["found"], shard.start, shard.start + shard.rows)
        drop, cuts = np.zeros(shard.rows, bool), dict[int, tuple[int, int]]()
        with shard_writer(out, "documents", rank, shard.schema) as writer:
            for batch in shard.batches(rows=BATCH_ROWS):
                writer.write_batch(self._without(batch, spans, drop, cuts))
        rows = sorted(cuts)
        columns = {
            "id": shard.ids().take(pa.array(rows, pa.int64())),
            "bytes_before": pa.array([cuts[row][0] for row in rows], pa.int64()),
            "bytes_after": pa.array([cuts[row][1] for row in rows], pa.int64()),
        }
        write_table(out / "cuts" / f"{rank:05d}.parquet", pa.table(columns))
        counts = write_drops(shard, out, rank, drop, self.reason, self.step)
        removed = sum(before - after for before, after in cuts.values())
        return counts.model_copy(update={"notes": {"documents_cut": len(cuts), "bytes_cut": removed}})

    def _without(
        self, batch: Batch, spans: dict[int, np.ndarray], drop: np.ndarray, cuts: dict[int, tuple[int, int]]
    ) -> pa.RecordBatch:
        """Return the rows with spans cut out; mark rows of which too little is left in `drop`, note cuts in `cuts`."""
        first, rows = batch.first, batch.rows
        affected = [row for row in range(rows.num_rows) if first + row in spans]
        if not affected:
            return rows
        from windtunnel.pipelines.features.kernels.units import without_spans

        texts = rows.column("text").to_pylist()
        data, offsets = text_buffers(rows.column("text"))
        kind = _KINDS[self.unit]
        for row in affected:
            start, end = int(offsets[row]), int(offsets[row + 1])
            out = np.empty(end - start, np.uint8)
            written, left_out, words, units = without_spans(
                data, start, end, kind, self.span, spans[first + row], self.min_span_words, *table(), out
            )
            if left_out == 0:
                continue
            if words < max(1, self.min_words) or units < self.min_units:
                drop[first + row] = True  # dropped documents keep their whole text
                continue
            texts[row] = bytes(out[:written]).decode("utf-8", "replace").strip()
            cuts[first + row] = (end - start, len(texts[row].encode()))
        return replaced(rows, "text", texts)


def _spans_between(removed: Artifact, low: int, high: int) -> dict[int, np.ndarray]:
    """Return the first units of spans to cut, sorted, by row of the shard whose documents are numbered low to high."""
    documents, units = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for file in removed.files("removed", ".arrow"):
        arrays, _ = read_arrays(file)
        part = slice(*np.searchsorted(arrays["document"], [low, high]))
        documents.append(arrays["document"][part].astype(np.int64))
        units.append(arrays["unit"][part].astype(np.int64))
    document, unit = np.concatenate(documents), np.concatenate(units)
    order = np.lexsort((unit, document))
    rows, at = np.unique(document[order], return_index=True)
    return dict(zip((rows - low).tolist(), np.split(unit[order], at[1:]), strict=True)) if len(rows) else {}
