"""Decontamination: drops documents that share long word n-grams with evaluation sets, or cuts the shared places out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pyarrow as pa

from windtunnel.pipelines.datasets.evaluation_ngrams import EvaluationNgrams, overlap
from windtunnel.pipelines.dedup.matching.band_keys import read_arrays, write_arrays
from windtunnel.pipelines.dedup.matching.cutting import cut
from windtunnel.pipelines.features.buffers import text_buffers
from windtunnel.pipelines.features.folding import table
from windtunnel.pipelines.recipe.decontamination import DecontaminationSettings
from windtunnel.pipelines.shards.reader import BATCH_ROWS, Shard, ShardWork
from windtunnel.pipelines.shards.writer import replaced, shard_writer, write_drops
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.work import Counts, Work

REASON = "contaminated"
Add = Callable[[str, Work, Mapping[str, Any]], Any]


class Decontamination(DecontaminationSettings):
    """How a corpus is kept clear of evaluation sets; the parameters are those of a recipe."""

    @property
    def edits(self) -> bool:
        """Whether the last step's artifact has a `documents/` of its own, which what follows must read."""
        return self.action == "cut"

    def steps(
        self, add: Add, corpus: str, documents: Any, decisions: Any | None, evaluations: Mapping[str, Any]
    ) -> Any:
        """Add the steps to a plan; return the one that holds `decisions/`, and `documents/` where `edits`.

        `evaluations`: name -> step whose artifact has `documents/` (the held-out set, and files that a source read).
        """
        read = {"documents": documents} if decisions is None else {"documents": documents, "decisions": decisions}
        grams = EvaluationNgrams(ngram=self.ngram, shortest=self.shortest)
        ngrams = add(f"evaluation_ngrams:{corpus}", grams, dict(evaluations))
        overlaps = add(f"overlap:{corpus}", Overlap(), {**read, "ngrams": ngrams})
        work = Decontaminate(how=self, step=f"decontaminate:{corpus}")
        return add(f"decontaminate:{corpus}", work, {**read, "ngrams": ngrams, "overlap": overlaps})


class Overlap(ShardWork):
    """Find where the documents of a shard share n-grams with the evaluation sets; dropped documents are not searched.

    Inputs: `documents`, `decisions` if any, `ngrams`. Writes `matches/NNNNN.arrow` (document row, n-gram number, bytes
    from and to), and at the end `documents.arrow`: how many documents contain each n-gram.
    """

    version: ClassVar[int] = 2

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.pipelines.features.kernels.ngram_scan import build_filter, scan
        from windtunnel.pipelines.features.kernels.shingle_sets import build_table

        grams, _ = read_arrays(inputs["ngrams"].path / "ngrams.arrow")
        tokens, lengths = grams["hash"], np.unique(grams["length"]).astype(np.int64)
        bitmap, slots = build_filter(tokens), build_table(tokens)
        parts, seen = [], 0
        for batch in Shard(inputs, rank).batches(["text"], BATCH_ROWS):
            data, offsets = text_buffers(batch.rows.column("text"))
            row, gram, first, last = scan(data, offsets, batch.alive, *table(), lengths, bitmap, slots, tokens)
            parts.append((row + batch.first, gram, first, last))
            seen += int(batch.alive.sum())
        names = ("row", "ngram", "first", "last")
        arrays = {name: np.concatenate([np.empty(0, np.int64), *(p[i] for p in parts)]) for i, name in enumerate(names)}
        write_arrays(out / "matches" / f"{rank:05d}.arrow", arrays, {"ngrams": len(tokens)})
        matching = len(np.unique(arrays["row"]))
        return Counts(seen=seen, kept=seen, notes={"documents_with_matches": matching, "matches": len(arrays["row"])})

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        grams, _ = read_arrays(inputs["ngrams"].path / "ngrams.arrow")
        documents = np.zeros(len(grams["hash"]), np.int64)
        for file in sorted((out / "matches").glob("*.arrow")):
            arrays, _ = read_arrays(file)
            pairs = pl.DataFrame({"row": arrays["row"], "ngram": arrays["ngram"]}).unique()
            documents += np.bincount(pairs["ngram"].to_numpy(), minlength=len(documents))
        write_arrays(out / "documents.arrow", {"documents": documents}, {})


class Decontaminate(ShardWork):
    """Drop the documents that overlap with an evaluation set, or cut the overlapping places out.

    Inputs: those of Overlap, and `overlap`. Writes `decisions/`, with `cut` also `documents/`, `contaminated/` (id,
    evaluation, item, n-grams shared) and at the end `overlap.parquet`, one row an evaluation.
    """

    version: ClassVar[int] = 2
    how: Decontamination
    step: str = "decontaminate"

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        shard, matches = Shard(inputs, rank), self._counting(inputs, rank)
        drop = np.zeros(shard.rows, bool)
        drop[matches["row"].unique().to_numpy()] = True
        notes = self._cut(shard, out, rank, matches, drop) if self.how.edits else {}
        self._write_matches(inputs, out, rank, matches, shard.ids())
        counts = write_drops(shard, out, rank, drop, REASON, self.step)
        return counts.model_copy(update={"notes": notes})

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        pairs, _ = read_arrays(inputs["ngrams"].path / "pairs.arrow")
        documents = read_arrays(inputs["overlap"].path / "documents.arrow")[0]["documents"][pairs["ngram"]]
        common = documents > (self.how.common or documents.max(initial=0))
        ngrams = pl.DataFrame({**pairs, "found": documents > 0, "common": common})
        shared = pl.concat([_shared(file) for file in sorted((out / "met").glob("*.arrow"))])
        with writing(out / "overlap.parquet") as partial:
            overlap(inputs["ngrams"].path, ngrams, shared).write_parquet(partial)

    def _counting(self, inputs: Mapping[str, Artifact], rank: int) -> pl.DataFrame:
        """Return the matches that count: of n-grams that are not common, in documents with enough of them."""
        arrays, _ = read_arrays(inputs["overlap"].files("matches", ".arrow")[rank])
        matches = pl.DataFrame(arrays)
        if self.how.common is not None:
            documents = read_arrays(inputs["overlap"].path / "documents.arrow")[0]["documents"]
            matches = matches.filter(pl.Series(documents[arrays["ngram"]] <= self.how.common))
        enough = pl.col("ngram").n_unique().over("row") >= self.how.min_matches
        return matches.filter(enough)

    def _write_matches(
        self, inputs: Mapping[str, Artifact], out: Path, rank: int, matches: pl.DataFrame, ids: pa.ChunkedArray
    ) -> None:
        """Write which document shares n-grams with which item: `contaminated/`, and `met/` as numbers for `finish`."""
        pairs, _ = read_arrays(inputs["ngrams"].path / "pairs.arrow")
        items = pl.read_parquet(inputs["ngrams"].path / "items.parquet")
        shared = matches.select("row", "ngram").unique().join(pl.DataFrame(pairs), on="ngram")
        shared = shared.group_by("row", "item").agg(pl.len().alias("ngrams")).sort("row", "item")
        columns = {
            "id": pl.Series(ids.take(shared["row"].to_arrow()).to_pylist(), dtype=pl.String),
            "evaluation": items["evaluation"].gather(shared["item"]),
            "item": items["id"].gather(shared["item"]),
            "ngrams": shared["ngrams"].cast(pl.Int64),
        }
        with writing(out / "contaminated" / f"{rank:05d}.parquet") as partial:
            pl.DataFrame(columns).write_parquet(partial)
        numbers = {name: shared[name].to_numpy() for name in ("row", "item")}
        write_arrays(out / "met" / f"{rank:05d}.arrow", numbers, {"rank": rank})

    def _cut(
        self, shard: Shard, out: Path, rank: int, matches: pl.DataFrame, drop: np.ndarray
    ) -> dict[str, float | int | str]:
        """Write `documents/` with the matches cut out; clear `drop` for documents of which enough is left."""
        spans = {int(row): part.select("first", "last").to_numpy() for (row,), part in matches.group_by("row")}
        removed = 0
        with shard_writer(out, "documents", rank, shard.schema) as writer:
            for first, rows, *_ in shard.batches(rows=BATCH_ROWS):
                matching = [row for row in range(first, first + rows.num_rows) if row in spans]
                texts = rows.column("text").to_pylist() if matching else []
                for row in matching:
                    old = texts[row - first]
                    new = cut(old, spans[row], self.how.margin, self.how.min_piece, self.how.max_pieces)
                    if new is not None:
                        texts[row - first], drop[row] = new, False
                        removed += len(old) - len(new)
                writer.write_batch((replaced(rows, "text", texts) if matching else rows).cast(shard.schema))
        return {"documents_cut": sum(not drop[row] for row in spans), "characters_cut": removed}


def _shared(file: Path) -> pl.DataFrame:
    arrays, notes = read_arrays(file)
    document = arrays["row"] + (notes["rank"] << 40)  # unique in the corpus
    return pl.DataFrame({"item": arrays["item"], "document": document})
