"""Sends the rows of a user's own file to kept/ or dropped/, with all their columns and what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.steps.corpus import merged
from schemas.artifact import Artifact, writing
from schemas.work import Counts, Work

ROWS = 1024


class SortRows(Work):
    """Inputs: `rows` (OwnRows), `decided` (the last decisions), `measures1`, ... and, where text was cut, `edited`.

    Rows have the file's columns, `why` (a struct) where something was measured, and in `dropped/` the `reason`;
    edited text takes the place of the old in the column `text`.
    """

    text: str = "text"

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["rows"].files("rows"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        reasons = pq.read_table(inputs["decided"].files("decisions")[rank], columns=["reason"])["reason"]
        stays = np.asarray(reasons.is_null())
        why = _why(inputs, rank)
        with pq.ParquetFile(inputs["rows"].files("rows")[rank]) as source:
            schema = source.schema_arrow
            if why is not None:
                schema = schema.append(pa.field("why", why.to_struct("why").to_arrow().type))
            with (
                writing(out / "kept" / f"{rank:05d}.parquet") as kept_path,
                pq.ParquetWriter(kept_path, schema, compression="zstd") as keeper,
                writing(out / "dropped" / f"{rank:05d}.parquet") as dropped_path,
                pq.ParquetWriter(
                    dropped_path, schema.append(pa.field("reason", pa.string())), compression="zstd"
                ) as dropper,
            ):
                first = 0
                for rows in self._batches(source, inputs, rank):
                    if why is not None:
                        values = why.slice(first, rows.num_rows).to_struct("why").to_arrow()
                        rows = rows.append_column("why", values)
                    here = reasons.slice(first, rows.num_rows)
                    keeper.write_table(rows.filter(here.is_null()).cast(schema))
                    dropper.write_table(rows.append_column("reason", here).filter(here.is_valid()))
                    first += rows.num_rows
        counted = reasons.drop_null().value_counts().to_pylist()
        dropped = dict(sorted((entry["values"], entry["counts"]) for entry in counted))
        return Counts(seen=len(stays), kept=int(stays.sum()), dropped=dropped).check(f"sort, shard {rank}")

    def _batches(self, source: pq.ParquetFile, inputs: Mapping[str, Artifact], rank: int) -> Iterator[pa.Table]:
        if "edited" not in inputs:
            for batch in source.iter_batches(batch_size=ROWS):
                yield pa.Table.from_batches([batch])
            return
        with pq.ParquetFile(inputs["edited"].files("documents")[rank]) as edited:
            texts = edited.iter_batches(batch_size=ROWS, columns=["text"])
            for batch, new in zip(source.iter_batches(batch_size=ROWS), texts, strict=True):
                rows = pa.Table.from_batches([batch])
                place = rows.schema.get_field_index(self.text)
                field = rows.schema.field(place)
                yield rows.set_column(place, field, new.column("text").cast(field.type))


def _why(inputs: Mapping[str, Artifact], rank: int) -> pl.DataFrame | None:
    roles = sorted((role for role in inputs if role.startswith("measures")), key=lambda role: (len(role), role))
    files = [inputs[role].files("measures") for role in roles]
    return merged([pl.read_parquet(found[rank]) for found in files if found])
