"""Lines and paragraphs that a Bloom filter has seen are taken out: one pass, memory fixed beforehand."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from windtunnel.pipelines.dedup._dedup import Add, Dedup
from windtunnel.pipelines.dedup.matching.clusters import write_decisions
from windtunnel.pipelines.shards.survivors import alive_rows, batches, text_buffers
from windtunnel.schemas.artifact import Artifact, writing
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import make
from windtunnel.schemas.work import Counts, Work


class BloomDedup(Dedup):
    """Removes units of text seen before, as Dolma and DCLM (BFF) do.

    `false_positives`: the chance that new text is taken for seen, at most, once all is in the filter. `filters`: into
    how many runs of shards the corpus is cut; each has a filter of its own and is one task, so that several tell less
    and run side by side (DCLM took up to 32). `megabytes`: what a filter may take; needing more is an error.
    `expected`: keys a filter will hold; by default the most that the text's bytes can make.
    What is left of a document must hold `min_words` words.
    """

    edits: ClassVar[bool] = True
    false_positives: float = Field(0.01, gt=0, lt=0.5)
    filters: int = Field(1, ge=1)
    megabytes: int = Field(4096, ge=1)
    expected: int | None = Field(None, ge=1)
    min_words: int = Field(1, ge=0)

    @abstractmethod
    def filtering(self) -> dict[str, Any]:
        """Return ngram (0: whole units), paragraph, threshold, whole and shortest."""

    @abstractmethod
    def keys_of(self, size: int) -> int:
        """Return how many keys text of so many bytes makes at most, in practice."""

    def steps(self, add: Add, corpus: str, documents: Any, decisions: Any | None, measures: Sequence[Any] = ()) -> Any:
        read = {"documents": documents} if decisions is None else {"documents": documents, "decisions": decisions}
        name = f"{self.name}:{corpus}"
        work = BloomFilter(method={self.name: self.model_dump(mode="json")}, reason=self.name, step=name)
        return add(name, work, read)


class BloomFilter(Work):
    """Runs the documents of a run of shards through one filter, in order.

    Writes `documents/`, `decisions/` (a document with nothing left, or too little, is dropped with its text whole).
    State: the filter, whatever the number of documents.
    """

    version: ClassVar[int] = 2
    method: dict[str, Any]
    reason: str
    step: str

    @property
    def plugin(self) -> BloomDedup:
        return make(BloomDedup, self.method)

    def plugins(self) -> list[BloomDedup]:
        return [self.plugin]

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return max(1, min(self.plugin.filters, len(inputs["documents"].files("documents"))))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        files = inputs["documents"].files("documents")
        tasks = self.shards(inputs)
        mine = range(len(files) * rank // tasks, len(files) * (rank + 1) // tasks)
        bits, hashes = self._filter([files[shard] for shard in mine])
        parts = [self._shard(inputs, out, shard, bits, hashes) for shard in mine]
        whole = Counts.total(parts)
        share = float(np.bitwise_count(bits).sum()) / (64 * len(bits))  # numpy 2
        whole.notes["most_false_positives_ppm"] = round(1e6 * share**hashes)
        return whole

    def _filter(self, files: list[Path]) -> tuple[np.ndarray, int]:
        """Return an empty filter (u64 words) for the text of some files, and how many bits a key sets."""
        method = self.plugin
        keys = method.expected or max(1024, method.keys_of(sum(map(_text_bytes, files))))
        wanted = -keys * math.log(method.false_positives) / math.log(2) ** 2
        words = 1 << max(4, math.ceil(math.log2(wanted / 64)))
        if words * 8 > method.megabytes << 20:
            raise InputError(
                f"{method.name}: a filter for {keys} keys takes {words * 8 >> 20} MB, {method.megabytes} are allowed: "
                "raise `megabytes` or `false_positives`, set `expected` if there are fewer, or use more `filters`"
            )
        return np.zeros(words, np.uint64), max(1, round(-math.log2(method.false_positives)))

    def _shard(self, inputs: Mapping[str, Artifact], out: Path, shard: int, bits: np.ndarray, hashes: int) -> Counts:
        source, alive = inputs["documents"].files("documents")[shard], alive_rows(inputs, shard)
        schema, gone, notes, first = pq.read_schema(source), [np.empty(0, bool)], [0, 0, 0], 0
        with (
            writing(out / "documents" / f"{shard:05d}.parquet") as partial,
            pq.ParquetWriter(partial, schema, compression="zstd") as writer,
        ):
            for rows in batches(source, schema.names):
                living = np.ones(rows.num_rows, bool) if alive is None else alive[first : first + rows.num_rows]
                edited, dropped, found = self._batch(rows, living, bits, hashes)
                writer.write_batch(edited.cast(schema))
                gone.append(dropped)
                notes = [a + b for a, b in zip(notes, found, strict=True)]
                first += rows.num_rows
        ids = pq.read_table(source, columns=["id"])["id"]
        counts = write_decisions(inputs, out, shard, ids, np.concatenate(gone), self.reason, self.step)
        names = ("documents_cut", "units_cut", "bytes_cut")
        return counts.model_copy(update={"notes": dict(zip(names, notes, strict=True))})

    def _batch(
        self, rows: pa.RecordBatch, living: np.ndarray, bits: np.ndarray, hashes: int
    ) -> tuple[pa.RecordBatch, np.ndarray, tuple[int, int, int]]:
        """Return (rows with units taken out, bool a row to drop, documents, units and bytes cut)."""
        from windtunnel.pipelines.features.folding import table
        from windtunnel.pipelines.features.kernels.bloom import filter_texts

        how = self.plugin.filtering()
        data, offsets = text_buffers(rows.column("text"))
        given = (how["ngram"], how["paragraph"], how["threshold"], how["whole"], how["shortest"])
        held, new, state, removed, kept = filter_texts(data, offsets, living, *table(), *given, bits, hashes)
        changed = np.flatnonzero(state == 1)
        dropped = state == 2
        if not len(changed):
            return rows, dropped, (0, 0, 0)
        texts = rows.column("text").to_pylist()
        for row in changed:
            if kept[row] < max(1, self.plugin.min_words):
                dropped[row] = True
            else:
                texts[row] = bytes(held[new[row] : new[row + 1]]).decode("utf-8", "replace").strip()
        cut = changed[~dropped[changed]]
        place = rows.schema.get_field_index("text")
        field = rows.schema.field(place)
        edited = rows.set_column(place, field, pa.array(texts, field.type))
        before = int(np.diff(offsets)[cut].sum())
        after = sum(len(texts[row].encode()) for row in cut)
        return edited, dropped, (len(cut), int(removed[cut].sum()), before - after)


def _text_bytes(path: Path) -> int:
    """Return the uncompressed bytes of the text column, from the file's footer."""
    footer = pq.read_metadata(path)
    place = next(_text_columns(footer))
    groups = (footer.row_group(group).column(place) for group in range(footer.num_row_groups))
    return sum(column.total_uncompressed_size for column in groups)


def _text_columns(footer: Any) -> Iterator[int]:
    return (i for i in range(footer.num_columns) if footer.schema.column(i).path == "text")
