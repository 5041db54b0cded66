"""Union: the kept documents of several corpora as one, shard after shard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.records import DOCUMENT
from windtunnel.schemas.work import Counts, Work


class Union(Work):
    """Copy `kept/` of every input into `documents/`, or `rows/` into `rows/`, one task a shard.

    `order`: the roles as they follow one another, since the first of duplicates stays; by name where it is empty.
    """

    folder: Literal["kept", "rows"] = "kept"
    order: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude=None if self.order else {"order"})

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(self._files(inputs))

    def _files(self, inputs: Mapping[str, Artifact]) -> list[Path]:
        return [file for role in self.order or sorted(inputs) for file in inputs[role].files(self.folder)]

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        counts = Counts()
        with pq.ParquetFile(self._files(inputs)[rank]) as source:
            schema = DOCUMENT if self.folder == "kept" else source.schema_arrow  # documents lose their `why`
            target = "documents" if self.folder == "kept" else self.folder
            with (
                writing(out / target / f"{rank:05d}.parquet") as path,
                pq.ParquetWriter(path, schema, compression="zstd") as writer,
            ):
                for batch in source.iter_batches(batch_size=1024, columns=schema.names):
                    writer.write_batch(batch.cast(schema))
                    counts.seen += batch.num_rows
                    counts.kept += batch.num_rows
                    counts.bytes += batch.nbytes
        return counts
