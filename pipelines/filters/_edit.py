"""Edit: new documents from a rule that rewrites text, row-aligned with the old ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from windtunnel.pipelines.filters._rule import Rule
from windtunnel.pipelines.shards.reader import Shard, ShardWork
from windtunnel.pipelines.shards.writer import replaced, shard_writer
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.plugin import errors_of, label, make
from windtunnel.schemas.work import Counts


class Edit(ShardWork):
    """Rewrite the text of the documents that are still kept; ids stay, dropped documents stay as they were.

    Inputs: documents and decisions. Output: `documents/NNNNN.parquet`, row-aligned. The notes count the rewritten
    documents and what the rule reports about its changes.
    """

    rule: dict[str, Any]

    def plugins(self) -> list[Rule]:
        return [make(Rule, self.rule)]

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        (rule,) = self.plugins()
        shard = Shard(inputs, rank)
        counts, changes = Counts(), Counter[str]()
        with shard_writer(out, "documents", rank, shard.schema) as writer:
            for batch in shard.batches():
                edited, changed = rewritten(batch.rows, rule, batch.alive)
                writer.write_batch(edited.cast(shard.schema))
                changes.update(changed)
                counts.seen += int(batch.alive.sum())
                counts.bytes += edited.column("text").nbytes
        counts.kept = counts.seen
        counts.notes = {f"{label(rule)}.{name}": number for name, number in sorted(changes.items())}
        return counts.check(f"{label(rule)} edits, shard {rank}")


def rewritten(
    batch: pa.RecordBatch, rule: Rule, keep: np.ndarray, column: str = "text"
) -> tuple[pa.RecordBatch, dict[str, int]]:
    """Return the batch with the text of rows where `keep` is true rewritten, and the rule's counts of changes."""
    if not keep.any():
        return batch, {}
    old = batch.column(column)
    part = batch if keep.all() else batch.filter(pa.array(keep))
    with errors_of(rule, "`edit`"):
        new, changes = rule.edit(part)
        new = _texts(new, part.num_rows).cast(old.type)
    if part.num_rows != batch.num_rows:
        places = np.where(keep, np.cumsum(keep) - 1, len(new) + np.arange(batch.num_rows))
        new = pa.concat_arrays([new, old]).take(pa.array(places))
    return replaced(batch, column, new), changes


def _texts(new: Any, rows: int) -> pa.Array:
    """Return what `edit` returned. Raises TypeError or ValueError unless it is one text for every document."""
    if isinstance(new, pa.ChunkedArray):
        new = new.combine_chunks()
    types = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if not isinstance(new, pa.Array) or not any(is_(new.type) for is_ in types):
        raise TypeError(f"an Arrow array of strings is expected, not {getattr(new, 'type', type(new).__name__)}")
    if len(new) != rows or new.null_count:
        raise ValueError(f"{len(new)} texts, {new.null_count} of them null, for {rows} documents")
    return new
