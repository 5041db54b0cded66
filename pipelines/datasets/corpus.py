"""Corpus: kept and dropped documents with all their measured values, as files that any reader takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from windtunnel.pipelines.filters._edit import whole_rows
from windtunnel.pipelines.shards.aligned import AlignedReader, Measured
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.records import DOCUMENT
from windtunnel.schemas.work import Counts, Work


class Corpus(Work):
    """Write `kept/` and `dropped/`, each row with `why`: the struct of everything that was measured about it.

    Inputs: documents, decisions (without them all is kept), and any number of roles that begin with `measures`, in the
    order of their names; where two measured the same column the later one counts, if it measured the document at all.
    Dropped rows also have `reason` and `step`.
    """

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["documents"].files("documents"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        counts = Counts()
        with ExitStack() as stack:
            source = stack.enter_context(pq.ParquetFile(inputs["documents"].files("documents")[rank]))
            measured = Measured(inputs, rank, stack)
            decided = None
            if "decisions" in inputs:
                decided = AlignedReader(inputs["decisions"].files("decisions")[rank], stack, ["reason", "step"])
            kept, dropped = writers(stack, out, rank, measured.empty)
            for batch in whole_rows(source):
                rows = with_why(batch, measured.take(batch.num_rows))
                part = None if decided is None else pl.DataFrame(decided.take(batch.num_rows))
                write(rows, part, kept, dropped, counts)
            for beside in (measured, *([decided] if decided is not None else [])):
                beside.end()
        return counts.check(f"corpus, shard {rank}")


def with_why(batch: pa.RecordBatch, why: pl.DataFrame | None) -> pa.Table:
    """Return the batch as DOCUMENT columns with the `why` struct of its rows."""
    table = pa.Table.from_batches([batch]).select(DOCUMENT.names).cast(DOCUMENT)
    if why is None:
        return table
    return table.append_column("why", why.to_struct("why").to_arrow())


def write(
    rows: pa.Table, decided: pl.DataFrame | None, kept: pq.ParquetWriter, dropped: pq.ParquetWriter, counts: Counts
) -> None:
    """Send rows to the kept or the dropped writer and count them."""
    counts.seen += rows.num_rows
    if decided is None:
        counts.kept += rows.num_rows
        counts.bytes += text_bytes(rows)
        kept.write_table(rows.cast(kept.schema))
        return
    stays = decided["reason"].is_null().to_numpy()
    stay = rows.filter(pa.array(stays))
    counts.kept += stay.num_rows
    counts.bytes += text_bytes(stay)
    kept.write_table(stay.cast(kept.schema))
    gone = rows.filter(pa.array(np.logical_not(stays)))
    reasons = decided.filter(pl.Series(~stays))
    for name in ("reason", "step"):
        gone = gone.append_column(name, reasons[name].to_arrow().cast(pa.string()))
    dropped.write_table(gone.cast(dropped.schema))
    counts.dropped = dict(sorted((Counter(counts.dropped) + Counter(reasons["reason"].to_list())).items()))


def text_bytes(rows: pa.Table) -> int:
    """Return the bytes of text in a table."""
    return pc.sum(pc.binary_length(rows.column("text"))).as_py() or 0


def writers(
    stack: ExitStack, out: Path, rank: int, why: pl.DataFrame | None
) -> tuple[pq.ParquetWriter, pq.ParquetWriter]:
    """Open the kept and the dropped shard; both appear when the stack closes without an error."""
    fields = list(DOCUMENT)
    if why is not None:
        fields.append(pa.field("why", why.head(0).to_struct("why").to_arrow().type))
    schemas = {
        "kept": pa.schema(fields),
        "dropped": pa.schema([*fields, pa.field("reason", pa.string()), pa.field("step", pa.string())]),
    }
    made = []
    for folder, schema in schemas.items():
        path = stack.enter_context(writing(out / folder / f"{rank:05d}.parquet"))
        made.append(stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd")))
    return made[0], made[1]
