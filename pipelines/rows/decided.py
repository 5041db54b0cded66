"""Rows that stay and rows that go, by the decisions on their texts, with all that was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from windtunnel.pipelines.rows.read_rows import ROWS
from windtunnel.pipelines.shards.reader import Batch, Shard, ShardWork
from windtunnel.pipelines.shards.split import with_columns, with_why
from windtunnel.pipelines.shards.writer import REASONS, shard_writer
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.work import Counts


class DecidedRows(ShardWork):
    """Writes `rows/`, and `dropped/` with `reason`, `step` and the struct `why` of the measured values.

    Inputs: `documents` (its `rows/`), `decisions` on their texts, and roles that begin with `measures`.
    """

    version: ClassVar[int] = 1
    shards_of: ClassVar[tuple[str, str]] = ("documents", ROWS)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        shard = Shard(inputs, rank, folder=ROWS, text="id")
        counts, dropped = Counts(), Counter[str]()
        empty = _leaving(shard.empty(measured=None))
        with (
            shard_writer(out, ROWS, rank, shard.schema) as keeper,
            shard_writer(out, "dropped", rank, empty.schema) as dropper,
        ):
            for batch in shard.batches(measured=None):
                alive = pa.array(batch.alive)
                keeper.write_batch(batch.rows.filter(alive))
                counts.seen += batch.rows.num_rows
                counts.kept += alive.true_count
                if batch.decisions is not None and alive.true_count < len(alive):
                    leaving = _leaving(batch).filter(pa.array(~batch.alive))
                    dropper.write_table(leaving.cast(empty.schema))
                    dropped.update(leaving["reason"].to_pylist())
        counts.dropped = dict(sorted(dropped.items()))
        return counts.check(f"rows, shard {rank}")


def _leaving(batch: Batch) -> pa.Table:
    """Return the rows of a batch with their decisions and measured values."""
    rows = with_why(pa.Table.from_batches([batch.rows]), batch.measured)
    if batch.decisions is None:
        none = pa.nulls(rows.num_rows, pa.string())
        return with_columns(rows, pa.table(dict.fromkeys(REASONS, none)))
    return with_columns(rows, batch.decisions.select(REASONS))
