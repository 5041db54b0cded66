"""Splits the rows of a user's files into kept/ and dropped/, with all their columns and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from windtunnel.pipelines.shards.aligned import AlignedReader
from windtunnel.pipelines.shards.reader import Batch, Shard, ShardWork
from windtunnel.pipelines.shards.split import split_rows, with_why
from windtunnel.pipelines.shards.writer import replaced
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.work import Counts


class SortRows(ShardWork):
    """Inputs: `rows` (UserRows), `decided` (the last decisions), `measures1`, ... and, where text was cut, `edited`.

    Rows have the file's columns, `why` (a struct) where something was measured, and in `dropped/` the `reason`; edited
    text replaces the column `text`. A struct `why` in the file, from an earlier filter or dedup, takes in the new
    values; any other `why`, and a `reason`, is renamed to `why_before`, `reason_before`.
    """

    version: ClassVar[int] = 2
    shards_of: ClassVar[tuple[str, str]] = ("rows", "rows")
    text: str = "text"
    hidden: bool = False  # the text is that of a row that is a conversation: its turns are written, it is not

    def identity(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude=None if self.hidden else {"hidden"})

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        shard = Shard({**inputs, "documents": inputs["rows"], "decisions": inputs["decided"]}, rank, "rows", self.text)
        with ExitStack() as stack:
            edited = None
            if "edited" in inputs:
                path = inputs["edited"].files("documents")[rank]
                edited = stack.enter_context(AlignedReader(path, shard.rows, ["text"]))

            def rows_of(batch: Batch) -> pa.Table:
                rows = pa.Table.from_batches([batch.rows])
                if edited is not None:
                    rows = replaced(rows, self.text, edited.take(rows.num_rows)["text"])
                return with_why(rows.drop_columns([self.text]) if self.hidden else rows, batch.measured)

            parts = ((rows_of(batch), batch.decisions) for batch in shard.batches(measured=None))
            counts = split_rows(out, rank, rows_of(shard.empty(measured=None)), parts, ["reason"], self.text)
        return counts.check(f"sort, shard {rank}")
