"""The word n-grams of evaluation sets, as a table for searching corpora."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
from pydantic import Field

from windtunnel.pipelines.dedup.matching.band_keys import write_arrays
from windtunnel.pipelines.features.buffers import text_buffers
from windtunnel.pipelines.features.folding import table
from windtunnel.pipelines.shards.reader import batches
from windtunnel.pipelines.shards.writer import write_table
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts, Work

ITEM = pa.schema(
    [
        pa.field("evaluation", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("ngrams", pa.int64(), nullable=False),  # distinct ones; 0: too short to be searched for
    ]
)


class EvaluationNgrams(Work):
    """Collect the distinct n-grams of every input's `documents/`; the role of an input is the evaluation's name.

    An item of fewer than `ngram` words, but at least `shortest`, is searched for as a whole; a shorter one would match
    by chance and is counted as `too_short`. Writes `ngrams.arrow` (u64 `hash`, sorted, and `length`), `pairs.arrow`
    (n-gram number, item number) and `items.parquet` (ITEM).
    """

    version: ClassVar[int] = 2
    ngram: int = Field(13, ge=2, le=100)
    shortest: int = Field(8, ge=1)

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.pipelines.features.kernels.ngram_scan import ngrams_of

        folds, expansions = table()
        hashes, lengths, items, rows = [], [], [], []
        for evaluation in sorted(inputs):
            before = len(rows)
            for batch in (b for file in inputs[evaluation].files("documents") for b in batches(file, ["id", "text"])):
                data, offsets = text_buffers(batch.column("text"))
                for name, start, end in zip(batch.column("id").to_pylist(), offsets[:-1], offsets[1:], strict=True):
                    grams, length = ngrams_of(data, start, end, folds, expansions, self.ngram, self.shortest)
                    grams = np.unique(grams)
                    hashes.append(grams)
                    lengths.append(np.full(len(grams), length, np.uint16))
                    items.append(np.full(len(grams), len(rows), np.int64))
                    rows.append({"evaluation": evaluation, "id": name, "ngrams": len(grams)})
            if len(rows) == before:
                raise InputError(
                    f"decontaminate: the evaluation set {evaluation!r} holds no text, so nothing can be compared with "
                    "it: check what it is read from, or leave it out"
                )
        unique, first, which = np.unique(np.concatenate(hashes), return_index=True, return_inverse=True)
        write_arrays(out / "ngrams.arrow", {"hash": unique, "length": np.concatenate(lengths)[first]}, {})
        write_arrays(out / "pairs.arrow", {"ngram": which.astype(np.int64), "item": np.concatenate(items)}, {})
        write_table(out / "items.parquet", pa.Table.from_pylist(rows, ITEM))
        short = sum(row["ngrams"] == 0 for row in rows)
        return Counts(seen=len(rows), kept=len(rows) - short, dropped={"too_short": short} if short else {})


def overlap(folder: Path, pairs: pl.DataFrame, documents: pl.DataFrame) -> pl.DataFrame:
    """Return a row an evaluation: how much of it the corpus contains, and how many documents contain some of it.

    `pairs`: columns `ngram`, `found` (bool), `common` (bool), `item`. `documents`: columns `item`, `document`, one row
    for each document and item that share an n-gram which counts.
    """
    items = pl.read_parquet(folder / "items.parquet").with_row_index("item").with_columns(pl.col("item").cast(pl.Int64))
    ngrams = pairs.join(items.select("item", "evaluation"), on="item").group_by("evaluation")
    shared = documents.join(items.select("item", "evaluation"), on="item").group_by("evaluation")
    return (
        items.group_by("evaluation")
        .agg(pl.len().alias("items"), (pl.col("ngrams") == 0).sum().alias("items_too_short"))
        .join(shared.agg(pl.col("item").n_unique().alias("items_met")), "evaluation", "left")
        .join(
            ngrams.agg(
                pl.col("ngram").n_unique().alias("ngrams"),
                pl.col("ngram").filter("found").n_unique().alias("ngrams_found"),
                pl.col("ngram").filter("common").n_unique().alias("ngrams_common"),
            ),
            "evaluation",
            "left",
        )
        .join(shared.agg(pl.col("document").n_unique().alias("documents")), "evaluation", "left")
        .with_columns(pl.exclude("evaluation").fill_null(0).cast(pl.Int64))
        .sort("evaluation")
    )
