"""Repeated lines and paragraphs found by a Bloom filter: one pass, memory fixed beforehand."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from windtunnel.pipelines.dedup._dedup import Add, Dedup, inputs_of
from windtunnel.pipelines.features.buffers import text_buffers
from windtunnel.pipelines.features.folding import table
from windtunnel.pipelines.shards.reader import BATCH_ROWS, Shard, stored_text_bytes
from windtunnel.pipelines.shards.writer import replaced, shard_writer, write_drops
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.plugin import full_spec, make
from windtunnel.schemas.work import Counts, Work


class BloomDedup(Dedup):
    """Removes units of text that occurred before, as Dolma and DCLM (BFF) do.

    `false_positives`: probability that new text is removed, at most, once all keys are in the filter. `filters`: number
    of runs of shards that the corpus is cut into; each has its own filter and is one task: several run in parallel
    and find less (DCLM took up to 32). `megabytes`: limit for a filter; needing more is an error. `expected`: number of
    keys of a filter; by default the most that the text's bytes can make. What is left of a document must have
    `min_words` words.
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
        """Return how many keys text of `size` bytes makes at most, in practice."""

    def steps(self, add: Add, corpus: str, documents: Any, decisions: Any | None, measures: Sequence[Any] = ()) -> Any:
        name = f"{self.name}:{corpus}"
        work = BloomFilter(method=full_spec(self), reason=self.name, step=name)
        return add(name, work, inputs_of(documents, decisions))


class BloomFilter(Work):
    """Pass the documents of a run of shards through one filter, in order.

    Writes `documents/` and `decisions/`; a document of which too little is left is dropped and keeps its whole text.
    Memory: the filter, whatever the number of documents.
    """

    version: ClassVar[int] = 3
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
        shards = range(len(files) * rank // tasks, len(files) * (rank + 1) // tasks)
        bits, hashes = self._filter([files[shard] for shard in shards])
        counts = Counts.total([self._shard(inputs, out, shard, bits, hashes) for shard in shards])
        share = float(np.bitwise_count(bits).sum()) / (64 * len(bits))  # numpy 2
        counts.notes["most_false_positives_ppm"] = round(1e6 * share**hashes)
        return counts

    def _filter(self, files: list[Path]) -> tuple[np.ndarray, int]:
        """Return an empty filter (u64 words) for the text of some files, and how many bits a key sets."""
        method = self.plugin
        keys = method.expected or max(1024, method.keys_of(sum(map(stored_text_bytes, files))))
        size = -keys * math.log(method.false_positives) / math.log(2) ** 2  # bits
        words = 1 << max(4, math.ceil(math.log2(size / 64)))
        if words * 8 > method.megabytes << 20:
            raise InputError(
                f"{method.name}: a filter for {keys} keys takes {words * 8 >> 20} MB, {method.megabytes} are allowed: "
                "raise `megabytes` or `false_positives`, set `expected` if there are fewer, or use more `filters`"
            )
        return np.zeros(words, np.uint64), max(1, round(-math.log2(method.false_positives)))

    def _shard(self, inputs: Mapping[str, Artifact], out: Path, rank: int, bits: np.ndarray, hashes: int) -> Counts:
        shard, drop, cuts = Shard(inputs, rank), [np.empty(0, bool)], np.zeros(3, np.int64)
        with shard_writer(out, "documents", rank, shard.schema) as writer:
            for batch in shard.batches(rows=BATCH_ROWS):
                edited, dropped, batch_cuts = self._batch(batch.rows, batch.alive, bits, hashes)
                writer.write_batch(edited.cast(shard.schema))
                drop.append(dropped)
                cuts += batch_cuts
        counts = write_drops(shard, out, rank, np.concatenate(drop), self.reason, self.step)
        notes = dict(zip(("documents_cut", "units_cut", "bytes_cut"), cuts.tolist(), strict=True))
        return counts.model_copy(update={"notes": notes})

    def _batch(
        self, rows: pa.RecordBatch, alive: np.ndarray, bits: np.ndarray, hashes: int
    ) -> tuple[pa.RecordBatch, np.ndarray, tuple[int, int, int]]:
        """Return (rows with units cut out, bool a row to drop, documents, units and bytes cut)."""
        from windtunnel.pipelines.features.kernels.bloom import filter_texts

        how = self.plugin.filtering()
        data, offsets = text_buffers(rows.column("text"))
        parameters = (how["ngram"], how["paragraph"], how["threshold"], how["whole"], how["shortest"])
        text, new, state, removed, kept = filter_texts(data, offsets, alive, *table(), *parameters, bits, hashes)
        changed = np.flatnonzero(state == 1)
        dropped = state == 2
        if not len(changed):
            return rows, dropped, (0, 0, 0)
        texts = rows.column("text").to_pylist()
        for row in changed:
            if kept[row] < max(1, self.plugin.min_words):
                dropped[row] = True
            else:
                texts[row] = bytes(text[new[row] : new[row + 1]]).decode("utf-8", "replace").strip()
        cut = changed[~dropped[changed]]
        before = int(np.diff(offsets)[cut].sum())
        after = sum(len(texts[row].encode()) for row in cut)
        return replaced(rows, "text", texts), dropped, (len(cut), int(removed[cut].sum()), before - after)
