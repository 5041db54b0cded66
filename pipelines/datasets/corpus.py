"""Corpus: kept and dropped documents with all their measured values, as files that any reader takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from windtunnel.pipelines.shards.reader import Batch, Shard, ShardWork
from windtunnel.pipelines.shards.split import split_rows, with_why
from windtunnel.pipelines.shards.writer import REASONS
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.records import DOCUMENT
from windtunnel.schemas.work import Counts


class Corpus(ShardWork):
    """Write `kept/` and `dropped/`, each row with `why`: the struct of its measured values.

    Inputs: documents, decisions (without them all documents are kept), and any number of roles that begin with
    `measures`: where several measured the same column, the last value that is not null counts. Dropped rows also have
    `reason` and `step`.
    """

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        shard = Shard(inputs, rank)
        parts = ((_documents(batch), batch.decisions) for batch in shard.batches(measured=None))
        counts = split_rows(out, rank, _documents(shard.empty(measured=None)), parts, REASONS)
        return counts.check(f"corpus, shard {rank}")


def _documents(batch: Batch) -> pa.Table:
    """Return the documents of a batch with `why`."""
    return with_why(pa.Table.from_batches([batch.rows]).select(DOCUMENT.names).cast(DOCUMENT), batch.measured)
