"""Edit: new documents from a rule that rewrites text, row-aligned with the old ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.filters._measure import alive, bounded, rows_at_once
from windtunnel.pipelines.filters._rule import Rule, rules_of
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.plugin import make
from windtunnel.schemas.work import Counts, Work


class Edit(Work):
    """Rewrite the text of the documents that are still kept; ids stay, dropped documents stay as they were.

    Inputs: documents and decisions. Output: `documents/NNNNN.parquet`, row-aligned. Every rewritten document is counted
    in the notes, with what the rule says it rewrote.
    """

    rule: dict[str, Any]

    def plugins(self) -> list[Rule]:
        return [make(Rule, self.rule)]

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["documents"].files("documents"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        ((name, rule),) = rules_of([self.rule])
        keep = alive(inputs["decisions"].files("decisions")[rank])
        notes: Counter[str] = Counter()
        start = size = 0
        with (
            pq.ParquetFile(inputs["documents"].files("documents")[rank]) as source,
            writing(out / "documents" / f"{rank:05d}.parquet") as path,
            pq.ParquetWriter(path, source.schema_arrow, compression="zstd") as writer,
        ):
            for batch in whole_rows(source):
                edited, found = rewritten(batch, rule, keep[start : start + batch.num_rows])
                start += batch.num_rows
                size += edited.column("text").nbytes
                notes.update(found)
                writer.write_batch(edited.cast(source.schema_arrow))
        seen = int(keep.sum())
        counts = Counts(seen=seen, kept=seen, bytes=size, notes={f"{name}.{k}": v for k, v in sorted(notes.items())})
        return counts.check(f"{name} edits, shard {rank}")


def whole_rows(source: pq.ParquetFile, column: str = "text") -> Iterator[pa.RecordBatch]:
    """Yield all columns in bounded batches; `column` is the one that holds the text."""
    for group in range(source.metadata.num_row_groups):
        rows = rows_at_once(source.metadata.row_group(group))
        for batch in source.iter_batches(batch_size=rows, row_groups=[group]):
            yield from bounded(batch, column)


def rewritten(
    batch: pa.RecordBatch, rule: Rule, keep: np.ndarray | None = None, column: str = "text"
) -> tuple[pa.RecordBatch, dict[str, int]]:
    """Return the batch with the text of kept rows rewritten, and counts of what was rewritten."""
    old = batch.column(column)
    mask = np.ones(batch.num_rows, dtype=bool) if keep is None else keep
    if not mask.any():
        return batch, {}
    part = batch if mask.all() else batch.filter(pa.array(mask))
    new, found = rule.edit(part)
    new = new.cast(old.type)
    if part.num_rows != batch.num_rows:
        places = np.where(mask, np.cumsum(mask) - 1, len(new) + np.arange(batch.num_rows))
        new = pa.concat_arrays([new, old]).take(pa.array(places))
    place = batch.schema.get_field_index(column)
    return batch.set_column(place, batch.schema.field(place), new), found
