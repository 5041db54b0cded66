"""A corpus without the held-out documents and everything near to them: what may be trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from windtunnel.pipelines.datasets.near import NearIndex
from windtunnel.pipelines.shards.survivors import batches, text_buffers
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.records import DOCUMENT
from windtunnel.schemas.work import Counts, Work

DROPPED = pa.schema(
    [
        *DOCUMENT,
        pa.field("reason", pa.string(), nullable=False),
        pa.field("step", pa.string(), nullable=False),
        pa.field("held_out_id", pa.string()),  # the document of the held-out set that it is near to
        pa.field("jaccard", pa.float64()),
    ]
)


class TrainSplit(Work):
    """Keeps evaluation text apart from every mix.

    Drops `held_out` (same id, or same words, as a held-out document) and `near_held_out` (Jaccard of word 5-grams with
    one of them >= `threshold`; the search is exact, it misses no pair). Row order stays.
    Inputs: `corpus` (its `kept/`) and `held_out`. Writes `kept/` (DOCUMENT) and `dropped/` (with the document met).
    """

    version: ClassVar[int] = 2
    threshold: float = Field(0.72, gt=0, le=1)

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["corpus"].files("kept"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        held = pq.read_table(inputs["held_out"].files("documents")[0], columns=["id", "text"]).combine_chunks()
        guard = _Guard(held, self.threshold)
        seen, kept, size = 0, 0, 0
        dropped = {"held_out": 0, "near_held_out": 0}
        with (
            writing(out / "kept" / f"{rank:05d}.parquet") as kept_path,
            pq.ParquetWriter(kept_path, DOCUMENT, compression="zstd") as keeper,
            writing(out / "dropped" / f"{rank:05d}.parquet") as dropped_path,
            pq.ParquetWriter(dropped_path, DROPPED, compression="zstd") as dropper,
        ):
            for rows in batches(inputs["corpus"].files("kept")[rank], DOCUMENT.names):
                rows = rows.select(DOCUMENT.names).cast(DOCUMENT)
                reasons, near, similarity = guard.judge(rows)
                stays = np.asarray(reasons.is_null())
                keeper.write_batch(rows.filter(pa.array(stays)))
                gone = pa.array(~stays)
                met = guard.ids.take(pa.array(near, mask=near < 0)).filter(gone)
                found = pa.array(similarity, mask=near < 0).filter(gone)
                step = pa.repeat("train_split", len(met))
                columns = [*rows.filter(gone).columns, reasons.filter(gone), step, met, found]
                dropper.write_batch(pa.RecordBatch.from_arrays(columns, schema=DROPPED))
                seen, kept = seen + rows.num_rows, kept + int(stays.sum())
                size += int(np.diff(text_buffers(rows.column("text"))[1])[stays].sum())
                for reason in dropped:
                    dropped[reason] += sum(value == reason for value in reasons.to_pylist())
        return Counts(seen=seen, kept=kept, dropped={k: v for k, v in dropped.items() if v}, bytes=size)


class _Guard:
    """The held-out set, ready to be compared with batches."""

    def __init__(self, held: pa.Table, threshold: float) -> None:
        texts = held["text"].combine_chunks() if held.num_rows else pa.array([], pa.large_string())
        self.ids = held["id"].combine_chunks() if held.num_rows else pa.array([], pa.string())
        self.index = NearIndex(texts, threshold)
        self.words = {tuple(pair) for pair in _words(texts).tolist()}

    def judge(self, rows: pa.RecordBatch) -> tuple[pa.Array, np.ndarray, np.ndarray]:
        """Return (reason or null, nearest held-out document or -1, similarity) a row."""
        near, similarity = self.index.match(rows.column("text"))
        number = {name: i for i, name in enumerate(self.ids.to_pylist())}
        reasons: list[str | None] = ["near_held_out" if n >= 0 else None for n in near]
        words = _words(rows.column("text")).tolist()
        for i, name in enumerate(rows.column("id").to_pylist()):
            if name in number:
                reasons[i] = "held_out"
                near[i] = number[name] if near[i] < 0 else near[i]
            elif words[i][1] and tuple(words[i]) in self.words:
                reasons[i] = "held_out"
        return pa.array(reasons, pa.string()), near, similarity


def _words(texts: pa.Array) -> np.ndarray:
    from windtunnel.pipelines.features.folding import table
    from windtunnel.pipelines.features.kernels.minhash import document_hashes

    return document_hashes(*text_buffers(texts), np.ones(len(texts), bool), *table())
