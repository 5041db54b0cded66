"""Splits generated rows into a held-out part and a training part, by what is asked and by nothing else.

A row is held out when the hash of its first user message, normalised, falls below the share: no state, no order, and
the same question goes to the same side in every set, so that no model trains on a question it is measured on.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from pydantic import Field

from schemas.artifact import Artifact, writing
from schemas.work import Counts, Work


class ChatSplit(Work):
    """Writes one side of the split to `rows/`. Inputs: generated sets, in the order of their roles."""

    side: Literal["held_out", "train"]
    share: float = Field(0.1, gt=0, lt=1)
    salt: str = ""

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(rows_files(inputs))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        counts = Counts()
        with pq.ParquetFile(rows_files(inputs)[rank]) as source, writing(out / "rows" / f"{rank:05d}.parquet") as path:
            with pq.ParquetWriter(path, source.schema_arrow, compression="zstd") as writer:
                for batch in source.iter_batches(batch_size=1024):
                    held = [self._held(question) for question in questions(batch)]
                    mask = [h == (self.side == "held_out") for h in held]
                    writer.write_batch(batch.filter(pa.array(mask, pa.bool_())))
                    counts.seen += batch.num_rows
                    counts.kept += sum(mask)
        other = "train" if self.side == "held_out" else "held_out"
        counts.dropped = {other: counts.seen - counts.kept}
        return counts.check(f"{self.side} rows, shard {rank}")

    def _held(self, question: str) -> bool:
        digest = blake3(f"{self.salt}\x00{normal(question)}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64


def rows_files(inputs: Mapping[str, Artifact]) -> list[Path]:
    """Return the files in `rows/` of all inputs, in the order of the roles' names."""
    return [file for role in sorted(inputs) for file in inputs[role].files("rows")]


def questions(batch: pa.RecordBatch) -> Iterator[str]:
    """Yield the first user message of every conversation or preference of a batch."""
    column = "messages" if "messages" in batch.schema.names else "prompt"
    for messages in batch.column(column).to_pylist():
        yield next((m["content"] for m in messages if m["role"] == "user"), "")


def normal(text: str) -> str:
    """Return a text without case, punctuation and spacing: what is left says whether two questions are one."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in folded if c.isalnum())
