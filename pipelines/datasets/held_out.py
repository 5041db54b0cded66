"""The frozen evaluation set: documents drawn by the hash of their words, near-duplicates among them taken out."""

from __future__ import annotations

import json
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
from windtunnel.pipelines.recipe.where import Condition, parse
from windtunnel.pipelines.shards.survivors import batches, text_buffers
from windtunnel.schemas.artifact import Artifact, write_text, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.records import DOCUMENT
from windtunnel.schemas.work import Counts, Work

DRAWN = DOCUMENT.append(pa.field("order", pa.uint64(), nullable=False))
NEAR = pa.schema([pa.field("id", pa.string()), pa.field("of", pa.string()), pa.field("jaccard", pa.float64())])


class HeldOut(Work):
    """Draws a share of a corpus for measuring, never for training.

    A document is drawn by the hash of its normalised words and `salt`: no state, no order, and texts that differ only
    in case, punctuation or numbers go together. `where` (`pipelines.recipe.where`) limits the draw. `documents` and
    `bytes` cap the set, lowest hash first. Of drawn documents that are near one another (Jaccard of word 5-grams >=
    `threshold`, compared exactly) the one with the lowest hash stays.

    Input: `corpus` (its `kept/`). Writes `documents/00000.parquet`, `near_duplicates.parquet` (what was taken out, and
    for which document) and `held_out.json` (counts). A task's counts are those of its draw.
    """

    version: ClassVar[int] = 2
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

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["corpus"].files("kept"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        condition = parse(self.where) if self.where else None
        seen, dropped, kept = 0, {"outside_where": 0, "without_words": 0, "not_drawn": 0}, 0
        with (
            writing(out / "drawn" / f"{rank:05d}.parquet") as partial,
            pq.ParquetWriter(partial, DRAWN, compression="zstd") as writer,
        ):
            for rows in batches(inputs["corpus"].files("kept")[rank], DOCUMENT.names):
                drawn, order, why = self._draw(rows.select(DOCUMENT.names), condition)
                seen += rows.num_rows
                kept += int(drawn.sum())
                for reason, count in why.items():
                    dropped[reason] += count
                columns = [*rows.select(DOCUMENT.names).columns, pa.array(order)]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=DRAWN).filter(pa.array(drawn)))
        return Counts(seen=seen, kept=kept, dropped={k: v for k, v in dropped.items() if v})

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        files = sorted((out / "drawn").glob("*.parquet"))
        orders = np.sort(np.concatenate([np.asarray(pq.read_table(f, columns=["order"])["order"]) for f in files]))
        if not len(orders):
            fits = f" that fits `where: {self.where}`" if self.where else ""
            raise InputError(
                f"held_out: no document{fits} was drawn with share {self.share}: raise `share`, or widen `where`"
            )
        taken = self.documents or len(orders)
        while True:  # texts beyond the cap are not read, unless near-duplicates make room for them
            drawn = _lowest(files, orders[min(2 * taken, len(orders)) - 1])
            near, similarity = NearIndex(drawn["text"].combine_chunks(), self.threshold).thin_out()
            stay = np.flatnonzero(near < 0)
            if len(drawn) == len(orders) or len(stay) >= taken:
                break
            taken *= 2
        fitting = self._fitting(drawn, stay)
        end = stay[fitting] if fitting < len(stay) else len(drawn)
        gone = np.flatnonzero(near[:end] >= 0)
        self._write(out, drawn.take(pa.array(stay[:fitting])), _near_table(drawn, gone, near, similarity), len(orders))

    def _draw(self, rows: pa.RecordBatch, condition: Condition | None) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
        from windtunnel.pipelines.features.folding import table
        from windtunnel.pipelines.features.kernels.minhash import document_hashes

        fits = np.ones(rows.num_rows, bool) if condition is None else mask(condition, rows)
        data, offsets = text_buffers(rows.column("text"))
        hashes = document_hashes(data, offsets, fits, *table())
        worded = hashes[:, 1] != 0
        order = _salted(hashes[:, 0], self.salt)
        below = (
            order <= np.uint64(min(self.share * 2.0**64, 2**64 - 2048)) if self.share < 1 else np.ones(len(order), bool)
        )
        drawn = fits & worded & below
        why = {"outside_where": int((~fits).sum()), "without_words": int((fits & ~worded).sum())}
        return drawn, order, why | {"not_drawn": int((fits & worded & ~below).sum())}

    def _fitting(self, drawn: pa.Table, stay: np.ndarray) -> int:
        """Return how many of the staying documents fit into `documents` and `bytes`."""
        count = min(len(stay), self.documents or len(stay))
        if self.bytes is None:
            return count
        sizes = pc.binary_length(drawn["text"].take(pa.array(stay[:count])))  # type: ignore[attr-defined]
        fitting = int(np.searchsorted(np.cumsum(np.asarray(sizes)), self.bytes, side="right"))
        if fitting == 0:
            raise InputError(f"held_out: no document fits into {self.bytes} bytes, the first has {sizes[0]}")
        return fitting

    def _write(self, out: Path, chosen: pa.Table, near: pa.Table, total: int) -> None:
        """Write the set, what was taken out of it, and the counts."""
        size = pc.sum(pc.binary_length(chosen["text"])).as_py()  # type: ignore[attr-defined]
        notes: dict[str, Any] = {
            "drawn": total,
            "near_duplicates": near.num_rows,
            "beyond_limit": total - near.num_rows - chosen.num_rows,
            "documents": chosen.num_rows,
            "bytes": size,
        }
        with writing(out / "documents" / "00000.parquet") as partial:
            pq.write_table(chosen.drop_columns("order").cast(DOCUMENT), partial, compression="zstd")
        with writing(out / "near_duplicates.parquet") as partial:
            pq.write_table(near, partial, compression="zstd")
        write_text(out / "held_out.json", json.dumps(notes, indent=1))


def _near_table(drawn: pa.Table, gone: np.ndarray, near: np.ndarray, similarity: np.ndarray) -> pa.Table:
    ids = drawn["id"]
    columns = {"id": ids.take(pa.array(gone)), "of": ids.take(pa.array(near[gone])), "jaccard": similarity[gone]}
    return pa.table(columns, schema=NEAR)


def _lowest(files: list[Path], limit: np.uint64) -> pa.Table:
    """Return the drawn documents up to a limit of `order`, sorted by it, then by id."""
    wanted = pc.field("order") <= pa.scalar(int(limit), pa.uint64())
    parts = [pq.read_table(file, filters=wanted) for file in files]
    return pa.concat_tables(parts).sort_by([("order", "ascending"), ("id", "ascending")])


def _salted(hashes: np.ndarray, salt: str) -> np.ndarray:
    """Return the hashes, spread anew for each salt."""
    seed = np.uint64(int.from_bytes(blake3(salt.encode()).digest(8), "little"))
    mixed = hashes ^ seed
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(33))
