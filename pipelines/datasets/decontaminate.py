"""Takes evaluation text out of a corpus: documents that share a long word n-gram with it go, or the place goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.pipelines.datasets.evaluation_ngrams import EvaluationNgrams, overlap
from windtunnel.pipelines.dedup.matching.band_keys import read_arrays, write_arrays
from windtunnel.pipelines.dedup.matching.clusters import write_decisions
from windtunnel.pipelines.dedup.matching.cutting import cut
from windtunnel.pipelines.recipe.decontamination import DecontaminationWords
from windtunnel.pipelines.shards.survivors import batches, survivors, text_buffers
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.work import Counts, Work

REASON = "contaminated"
Add = Callable[[str, Work, Mapping[str, Any]], Any]


class Decontamination(DecontaminationWords):
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
        found = add(f"overlap:{corpus}", Overlap(), {**read, "ngrams": ngrams})
        work = Decontaminate(how=self, step=f"decontaminate:{corpus}")
        return add(f"decontaminate:{corpus}", work, {**read, "ngrams": ngrams, "overlap": found})


class Overlap(Work):
    """Finds where the living documents of a shard share n-grams with the evaluation sets.

    Inputs: `documents`, `decisions` if any, `ngrams`. Writes `matches/NNNNN.arrow` (document row, n-gram number, bytes
    from and to), and in the end `documents.arrow`: in how many documents each n-gram stands.
    """

    version: ClassVar[int] = 2

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["documents"].files("documents"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.pipelines.features.folding import table
        from windtunnel.pipelines.features.kernels.ngram_scan import build_filter, scan
        from windtunnel.pipelines.features.kernels.shingle_sets import build_table

        grams, _ = read_arrays(inputs["ngrams"].path / "ngrams.arrow")
        tokens, lengths = grams["hash"], np.unique(grams["length"]).astype(np.int64)
        bitmap, slots = build_filter(tokens), build_table(tokens)
        parts, seen = [], 0
        for batch in survivors(inputs, rank, ["text"]):
            data, offsets = text_buffers(batch.rows.column("text"))
            row, gram, first, last = scan(data, offsets, batch.alive, *table(), lengths, bitmap, slots, tokens)
            parts.append((row + batch.first, gram, first, last))
            seen += int(batch.alive.sum())
        names = ("row", "ngram", "first", "last")
        arrays = {name: np.concatenate([np.empty(0, np.int64), *(p[i] for p in parts)]) for i, name in enumerate(names)}
        write_arrays(out / "matches" / f"{rank:05d}.arrow", arrays, {"ngrams": len(tokens)})
        met = len(np.unique(arrays["row"]))
        return Counts(seen=seen, kept=seen, notes={"documents_with_matches": met, "matches": len(arrays["row"])})

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        grams, _ = read_arrays(inputs["ngrams"].path / "ngrams.arrow")
        documents = np.zeros(len(grams["hash"]), np.int64)
        for file in sorted((out / "matches").glob("*.arrow")):
            arrays, _ = read_arrays(file)
            pairs = pl.DataFrame({"row": arrays["row"], "ngram": arrays["ngram"]}).unique()
            documents += np.bincount(pairs["ngram"].to_numpy(), minlength=len(documents))
        write_arrays(out / "documents.arrow", {"documents": documents}, {})


class Decontaminate(Work):
    """Drops or mends the documents that overlap with an evaluation set.

    Inputs: those of Overlap, and `overlap`. Writes `decisions/`, with `cut` also `documents/`, `contaminated/` (id,
    evaluation, item, n-grams shared) and in the end `overlap.parquet`, one row an evaluation.
    """

    how: Decontamination
    step: str = "decontaminate"

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["documents"].files("documents"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        ids = pq.read_table(inputs["documents"].files("documents")[rank], columns=["id"])["id"]
        matches = self._counting(inputs, rank)
        gone = np.zeros(len(ids), bool)
        gone[matches["row"].unique().to_numpy()] = True
        notes: dict[str, float | int | str] = {}
        if self.how.edits:
            notes = self._cut(inputs, out, rank, matches, gone)
        self._write_matches(inputs, out, rank, matches, ids)
        counts = write_decisions(inputs, out, rank, ids, gone, REASON, self.step)
        return counts.model_copy(update={"notes": notes})

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        arrays, _ = read_arrays(inputs["ngrams"].path / "pairs.arrow")
        documents = read_arrays(inputs["overlap"].path / "documents.arrow")[0]["documents"]
        found = documents[arrays["ngram"]]
        common = found > (self.how.common or found.max(initial=0))
        pairs = pl.DataFrame({**arrays, "found": found > 0, "common": common})
        table = overlap(
            inputs["ngrams"].path, pairs, pl.concat([_met(f) for f in sorted((out / "met").glob("*.arrow"))])
        )
        with writing(out / "overlap.parquet") as partial:
            table.write_parquet(partial)

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
        """Write who shares what with whom: `contaminated/`, and `met/` as numbers for the table."""
        arrays, _ = read_arrays(inputs["ngrams"].path / "pairs.arrow")
        items = pl.read_parquet(inputs["ngrams"].path / "items.parquet")
        met = matches.select("row", "ngram").unique().join(pl.DataFrame(arrays), on="ngram")
        met = met.group_by("row", "item").agg(pl.len().alias("ngrams")).sort("row", "item")
        table = pl.DataFrame(
            {
                "id": pl.Series(ids.take(pa.array(met["row"].to_numpy())).to_pylist(), dtype=pl.String),
                "evaluation": items["evaluation"].gather(met["item"]),
                "item": items["id"].gather(met["item"]),
                "ngrams": met["ngrams"].cast(pl.Int64),
            }
        )
        with writing(out / "contaminated" / f"{rank:05d}.parquet") as partial:
            table.write_parquet(partial)
        columns = {"row": met["row"].to_numpy(), "item": met["item"].to_numpy()}
        write_arrays(out / "met" / f"{rank:05d}.arrow", columns, {"rank": rank})

    def _cut(
        self, inputs: Mapping[str, Artifact], out: Path, rank: int, matches: pl.DataFrame, gone: np.ndarray
    ) -> dict[str, float | int | str]:
        """Write `documents/` with the places cut out; clear `gone` where enough is left."""
        spans = {int(row): part.select("first", "last").to_numpy() for (row,), part in matches.group_by("row")}
        source = inputs["documents"].files("documents")[rank]
        schema, start, removed = pq.read_schema(source), 0, 0
        with (
            writing(out / "documents" / f"{rank:05d}.parquet") as partial,
            pq.ParquetWriter(partial, schema, compression="zstd") as writer,
        ):
            for rows in batches(source, schema.names):
                here = [row for row in range(start, start + rows.num_rows) if row in spans]
                texts = rows.column("text").to_pylist() if here else []
                for row in here:
                    old = texts[row - start]
                    new = cut(old, spans[row], self.how.margin, self.how.min_piece, self.how.max_pieces)
                    if new is not None:
                        texts[row - start], gone[row] = new, False
                        removed += len(old) - len(new)
                if here:
                    place = rows.schema.get_field_index("text")
                    rows = rows.set_column(place, schema.field(place), pa.array(texts, schema.field(place).type))
                writer.write_batch(rows.cast(schema))
                start += rows.num_rows
        mended = sum(not gone[row] for row in spans)
        return {"documents_cut": mended, "characters_cut": removed}


def _met(file: Path) -> pl.DataFrame:
    arrays, notes = read_arrays(file)
    document = arrays["row"] + (notes["rank"] << 40)  # unique in the corpus
    return pl.DataFrame({"item": arrays["item"], "document": document})
