"""The frozen evaluation set: documents drawn by the hash of their words, without near-duplicates among them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from blake3 import blake3
from pydantic import Field, field_validator

from windtunnel.pipelines.datasets.matching import mask
from windtunnel.pipelines.datasets.near import NearIndex
from windtunnel.pipelines.features.word_hashes import word_hashes
from windtunnel.pipelines.recipe.where import Condition, parse
from windtunnel.pipelines.shards.reader import BATCH_ROWS, ShardWork, batches
from windtunnel.pipelines.shards.writer import shard_writer, text_bytes, write_table
from windtunnel.schemas.artifact import Artifact, write_text
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.records import DOCUMENT
from windtunnel.schemas.work import Counts

DRAWN = DOCUMENT.append(pa.field("order", pa.uint64(), nullable=False))
NEAR = pa.schema([pa.field("id", pa.string()), pa.field("of", pa.string()), pa.field("jaccard", pa.float64())])


class HeldOut(ShardWork):
    """Draw a share of a corpus for measuring, never for training.

    A document is drawn by the hash of its normalised words and `salt`: without state and in any order; texts that
    differ only in case, punctuation or numbers are drawn together. `where` (`pipelines.recipe.where`) limits the draw.
    `documents` and `bytes` cap the set, lowest hash first. Of drawn documents that are near one another (Jaccard
    similarity of word 5-grams >= `threshold`, compared exactly) the one with the lowest hash stays.

    Input: `corpus` (its `kept/`). Writes `documents/00000.parquet`, `near_duplicates.parquet` (what was left out, and
    for which document) and `held_out.json` (counts). A task's counts are those of its draw.
    """

    version: ClassVar[int] = 3
    shards_of: ClassVar[tuple[str, str]] = ("corpus", "kept")
    share: float = Field(0.02, gt=0, le=1)
    where: str | None = None
    documents: int | None = Field(None, gt=0)
    bytes: int | None = Field(None, gt=0)
    threshold: float = Field(0.72, gt=0, le=1)
    salt: str = ""

    @field_validator("where")
    @classmethod
    def _readable(cls, where: str | None) -> str | None:
        if where is not None:
            parse(where)
        return where

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        condition = parse(self.where) if self.where else None
        counts, dropped = Counts(), Counter[str]()
        with shard_writer(out, "drawn", rank, DRAWN) as writer:
            for batch in batches(inputs["corpus"].files("kept")[rank], DOCUMENT.names, BATCH_ROWS):
                rows = batch.select(DOCUMENT.names)
                drawn, order, reasons = self._draw(rows, condition)
                counts.seen += rows.num_rows
                counts.kept += int(drawn.sum())
                dropped.update(reasons)
                columns = [*rows.columns, pa.array(order)]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=DRAWN).filter(pa.array(drawn)))
        counts.dropped = {reason: number for reason, number in dropped.items() if number}
        return counts

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        files = sorted((out / "drawn").glob("*.parquet"))
        orders = np.sort(np.concatenate([np.asarray(pq.read_table(f, columns=["order"])["order"]) for f in files]))
        if not len(orders):
            fits = f" that fits `where: {self.where}`" if self.where else ""
            raise InputError(
                f"held_out: no document{fits} was drawn with share {self.share}: raise `share`, or widen `where`"
            )
        number = self.documents or len(orders)
        while True:  # texts beyond the cap are not read, unless near-duplicates make room for them
            drawn = _lowest(files, orders[min(2 * number, len(orders)) - 1])
            near, similarity = NearIndex(drawn["text"].combine_chunks(), self.threshold).thin_out()
            stay = np.flatnonzero(near < 0)
            if len(drawn) == len(orders) or len(stay) >= number:
                break
            number *= 2
        fitting = self._fitting(drawn, stay)
        end = stay[fitting] if fitting < len(stay) else len(drawn)
        left_out = np.flatnonzero(near[:end] >= 0)
        ids = drawn["id"]
        columns = {"id": ids.take(left_out), "of": ids.take(near[left_out]), "jaccard": similarity[left_out]}
        self._write(out, drawn.take(stay[:fitting]), pa.table(columns, schema=NEAR), len(orders))

    def _draw(self, rows: pa.RecordBatch, condition: Condition | None) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
        """Return (bool, is drawn; u64, order of the draw; documents not drawn by reason)."""
        fits = np.ones(rows.num_rows, bool) if condition is None else mask(condition, rows)
        hashes = word_hashes(rows.column("text"), fits)
        worded = hashes[:, 1] != 0
        order = _salted(hashes[:, 0], self.salt)
        limit = 2**64 - 1 if self.share == 1 else min(self.share * 2.0**64, 2**64 - 2048)
        below = order <= np.uint64(limit)
        reasons = {
            "outside_where": int((~fits).sum()),
            "without_words": int((fits & ~worded).sum()),
            "not_drawn": int((fits & worded & ~below).sum()),
        }
        return fits & worded & below, order, reasons

    def _fitting(self, drawn: pa.Table, stay: np.ndarray) -> int:
        """Return how many of the staying documents fit into `documents` and `bytes`."""
        count = min(len(stay), self.documents or len(stay))
        if self.bytes is None:
            return count
        sizes = pc.binary_length(drawn["text"].take(stay[:count]))
        fitting = int(np.searchsorted(np.cumsum(np.asarray(sizes)), self.bytes, side="right"))
        if fitting == 0:
            raise InputError(f"held_out: no document fits into {self.bytes} bytes, the first has {sizes[0]}")
        return fitting

    def _write(self, out: Path, chosen: pa.Table, near: pa.Table, total: int) -> None:
        """Write the set, its near-duplicates, and the counts."""
        notes: dict[str, Any] = {
            "drawn": total,
            "near_duplicates": near.num_rows,
            "beyond_limit": total - near.num_rows - chosen.num_rows,
            "documents": chosen.num_rows,
            "bytes": text_bytes(chosen),
        }
        write_table(out / "documents" / "00000.parquet", chosen.drop_columns("order").cast(DOCUMENT))
        write_table(out / "near_duplicates.parquet", near)
        write_text(out / "held_out.json", json.dumps(notes, indent=1))


def _lowest(files: list[Path], limit: np.uint64) -> pa.Table:
    """Return the drawn documents up to a limit of `order`, sorted by it, then by id."""
    below = pc.field("order") <= pa.scalar(int(limit), pa.uint64())
    parts = [pq.read_table(file, filters=below) for file in files]
    return pa.concat_tables(parts).sort_by([("order", "ascending"), ("id", "ascending")])


def _salted(hashes: np.ndarray, salt: str) -> np.ndarray:
    """Return the hashes mixed with a salt."""
    seed = np.uint64(int.from_bytes(blake3(salt.encode()).digest(8), "little"))
    mixed = hashes ^ seed
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(33))
