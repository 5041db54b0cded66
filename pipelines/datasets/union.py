"""Union: the kept documents of several corpora as one, shard after shard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow.parquet as pq

from windtunnel.pipelines.shards.reader import BATCH_ROWS, batches
from windtunnel.pipelines.shards.writer import shard_writer
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.printable import escaped
from windtunnel.schemas.records import DOCUMENT
from windtunnel.schemas.work import Counts, Work


class Union(Work):
    """Copy `kept/` of every input into `documents/`, or `rows/` into `rows/`, one task a shard.

    `order`: the roles in the order of their shards, by name where it is empty; the first of duplicates stays.
    """

    version: ClassVar[int] = 2
    folder: Literal["kept", "rows"] = "kept"
    order: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude=None if self.order else {"order"})

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(self._files(inputs))

    def _files(self, inputs: Mapping[str, Artifact]) -> list[Path]:
        return [file for role in self.order or sorted(inputs) for file in inputs[role].files(self.folder)]

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        """Raises InputError for a set of rows that gives none: what is said of the union would not be said of it."""
        for role, artifact in inputs.items() if self.folder == "rows" else ():
            if not any(pq.read_metadata(file).num_rows for file in artifact.files("rows")):
                raise InputError(
                    f"{role} has no row to give: its steps have left none (`windtunnel show {escaped(artifact.path)}` "
                    "says why); loosen them, or leave it out of `from:`"
                )

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        counts, path = Counts(), self._files(inputs)[rank]
        schema = DOCUMENT if self.folder == "kept" else pq.read_schema(path)  # documents lose their `why`
        with shard_writer(out, "documents" if self.folder == "kept" else "rows", rank, schema) as writer:
            for batch in batches(path, schema.names, BATCH_ROWS):
                writer.write_batch(batch.cast(schema))
                counts.seen += batch.num_rows
                counts.bytes += batch.nbytes
        counts.kept = counts.seen
        return counts
