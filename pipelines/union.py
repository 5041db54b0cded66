"""Union: the kept documents of several corpora as one, shard after shard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from schemas.artifact import Artifact, writing
from schemas.records import DOCUMENT
from schemas.work import Counts, Work


class Union(Work):
    """Copy `kept/` of every input, in the order of the roles' names, into `documents/`; one task a shard."""

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(self._files(inputs))

    def _files(self, inputs: Mapping[str, Artifact]) -> list[Path]:
        return [file for role in sorted(inputs) for file in inputs[role].files("kept")]

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        counts = Counts()
        with (
            pq.ParquetFile(self._files(inputs)[rank]) as source,
            writing(out / "documents" / f"{rank:05d}.parquet") as path,
            pq.ParquetWriter(path, DOCUMENT, compression="zstd") as writer,
        ):
            for batch in source.iter_batches(batch_size=1024, columns=DOCUMENT.names):
                writer.write_batch(batch.cast(DOCUMENT))
                counts.seen += batch.num_rows
                counts.kept += batch.num_rows
                counts.bytes += batch.column("text").nbytes
        return counts
