"""A corpus without the held-out documents and everything near to them: what may be trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from windtunnel.pipelines.datasets.near import NearIndex
from windtunnel.pipelines.features.word_hashes import word_hashes
from windtunnel.pipelines.shards.reader import BATCH_ROWS, ShardWork, batches
from windtunnel.pipelines.shards.writer import kept_and_dropped, text_bytes
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import DOCUMENT
from windtunnel.schemas.work import Counts

DROPPED = pa.schema(
    [
        *DOCUMENT,
        pa.field("reason", pa.string(), nullable=False),
        pa.field("step", pa.string(), nullable=False),
        pa.field("held_out_id", pa.string()),  # the held-out document that it is near to
        pa.field("jaccard", pa.float64()),
    ]
)


class TrainSplit(ShardWork):
    """Drop documents that are in the held-out set or near to one of it.

    Reasons: `held_out` (same id, or same words, as a held-out document) and `near_held_out` (Jaccard similarity of word
    5-grams with one of them >= `threshold`; the search is exact). Row order stays.
    Inputs: `corpus` (its `kept/`) and `held_out`. Writes `kept/` (DOCUMENT) and `dropped/` (DROPPED).
    """

    version: ClassVar[int] = 3
    shards_of: ClassVar[tuple[str, str]] = ("corpus", "kept")
    threshold: float = Field(0.72, gt=0, le=1)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        held_out = HeldOutIndex(inputs["held_out"].files("documents")[0], self.threshold)
        counts, dropped = Counts(), {"held_out": 0, "near_held_out": 0}
        with kept_and_dropped(out, rank, DOCUMENT, DROPPED) as (keeper, dropper):
            for batch in batches(inputs["corpus"].files("kept")[rank], DOCUMENT.names, BATCH_ROWS):
                rows = batch.select(DOCUMENT.names).cast(DOCUMENT)
                reasons, near, similarity = held_out.match(rows)
                kept, leaving = rows.filter(reasons.is_null()), reasons.is_valid()
                keeper.write_batch(kept)
                unknown = near < 0
                columns = [
                    *rows.columns,
                    reasons,
                    pa.repeat("train_split", rows.num_rows),
                    held_out.ids.take(pa.array(near, mask=unknown)),
                    pa.array(similarity, mask=unknown),
                ]
                left_out = [column.filter(leaving) for column in columns]
                dropper.write_batch(pa.RecordBatch.from_arrays(left_out, schema=DROPPED))
                counts.seen += rows.num_rows
                counts.kept += kept.num_rows
                counts.bytes += text_bytes(kept)
                for reason in dropped:
                    dropped[reason] += pc.sum(pc.equal(reasons, reason)).as_py() or 0
        counts.dropped = {reason: number for reason, number in dropped.items() if number}
        return counts.check(f"train_split, shard {rank}")


class HeldOutIndex:
    """The held-out set, searchable by id, by words and by similarity."""

    def __init__(self, path: Path, threshold: float) -> None:
        table = pq.read_table(path, columns=["id", "text"], schema=DOCUMENT).combine_chunks()
        self.ids, texts = (table[name].combine_chunks() for name in ("id", "text"))
        self._number = {name: number for number, name in enumerate(self.ids.to_pylist())}
        self._index = NearIndex(texts, threshold)
        self._words = {tuple(pair) for pair in word_hashes(texts).tolist()}

    def match(self, rows: pa.RecordBatch) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """Return (reason or null, number of the nearest held-out document or -1, similarity) a row."""
        near, similarity = self._index.match(rows.column("text"))
        reasons: list[str | None] = ["near_held_out" if number >= 0 else None for number in near]
        words = word_hashes(rows.column("text")).tolist()
        for row, name in enumerate(rows.column("id").to_pylist()):
            if name in self._number:
                reasons[row] = "held_out"
                near[row] = self._number[name] if near[row] < 0 else near[row]
            elif words[row][1] and tuple(words[row]) in self._words:
                reasons[row] = "held_out"
        return pa.array(reasons, pa.string()), near, similarity
