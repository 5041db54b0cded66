"""Long repeated substrings: runs of words that occur several times, found by suffix array or by hashed windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from windtunnel.pipelines.dedup._dedup import Add, Example, inputs_of
from windtunnel.pipelines.dedup._spans import SpanDedup, Unit
from windtunnel.pipelines.dedup.matching.join import write_removed
from windtunnel.pipelines.features.buffers import text_buffers
from windtunnel.pipelines.features.folding import table
from windtunnel.pipelines.shards.reader import BATCH_ROWS, Shard, ShardWork
from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.schemas.work import Counts

_FEW = {"tokens": 4, "min_words": 1}
SUFFIXES = 1 << 29  # words a shard that fit into the suffix array's 31-bit byte positions


class Substring(SpanDedup):
    """Every run of `tokens` words that occurs at an earlier place is cut out (Lee et al. 2022, 50 tokens).

    Words are compared normalised. `scope: shard` searches each shard by itself with a suffix array, which compares
    words and not hashes; `scope: corpus` joins the 64-bit hashes of all windows, at 16 bytes of disk a word.
    """

    primary = "tokens"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(("a b c d e f", "x a b c d y"), ("a b c d e f", "x y"), _FEW, shards=1),
        Example(("a b c d e f", "x a b c d y"), ("a b c d e f", "x y"), {**_FEW, "scope": "corpus"}),
    )
    tokens: int = Field(50, ge=2, le=100_000)
    scope: Literal["shard", "corpus"] = "shard"
    min_units: int = 0

    @model_validator(mode="after")
    def _whole_corpus(self) -> Substring:
        if self.scope == "shard" and (self.index or self.within):
            raise ValueError("`index` and `within` need `scope: corpus`")
        return self

    @property
    def shape(self) -> tuple[Unit, int]:
        return "word", self.tokens

    def steps(self, add: Add, corpus: str, documents: Any, decisions: Any | None, measures: Sequence[Any] = ()) -> Any:
        if self.scope == "corpus":
            return super().steps(add, corpus, documents, decisions, measures)
        read = inputs_of(documents, decisions)
        return self.cut_step(
            add, corpus, read, add(f"{self.name}_suffixes:{corpus}", Suffixes(tokens=self.tokens), read)
        )


class Suffixes(ShardWork):
    """Find the repeated runs of words of each shard.

    Memory: about 25 bytes a word of the shard (its words as 4-byte numbers, and their suffix array). Writes
    `removed/NNNNN.arrow` as SpanJoin does.
    """

    version: ClassVar[int] = 2
    tokens: int

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        from windtunnel.pipelines.features.kernels.suffixes import all_words, repeated

        shard, hashes, documents, seen, size = Shard(inputs, rank), [], [], 0, 0
        for batch in shard.batches(["text"], BATCH_ROWS):
            data, offsets = text_buffers(batch.rows.column("text"))
            words, counts = all_words(data, offsets, batch.alive, *table())
            hashes.append(words)
            documents.append(counts)
            seen, size = seen + int(batch.alive.sum()), size + batch.rows.nbytes
        counts = np.concatenate([np.empty(0, np.int64), *documents])
        words, ends = _numbered(np.concatenate([np.empty(0, np.uint64), *hashes]), counts)
        if len(words) > SUFFIXES:
            raise InputError(f"shard {rank} has {len(words)} words, more than {SUFFIXES}: use `scope: corpus`")
        order = _suffix_array(words)
        places = repeated(words, order, self.tokens)
        document = np.searchsorted(ends, places, side="right")
        first = np.concatenate([[0], ends[:-1]])[document] if len(ends) else document
        write_removed(out / "removed" / f"{rank:05d}.arrow", document + shard.start, places - first)
        return Counts(seen=seen, kept=seen, bytes=size, notes={"repeated_places": len(places)})


def _numbered(hashes: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (words as u32, each document followed by a number that occurs nowhere else; the end of each document)."""
    distinct, words = np.unique(hashes, return_inverse=True)
    if len(distinct) + len(counts) >= 1 << 32:
        raise InputError("a shard has more than 4 billion different words: use `scope: corpus`")
    ends = np.cumsum(counts + 1)
    whole = np.empty(int(ends[-1]) if len(ends) else 0, np.uint32)
    separators = np.zeros(len(whole), bool)
    separators[ends - 1] = True
    whole[~separators] = words.astype(np.uint32)
    whole[separators] = len(distinct) + np.arange(len(counts), dtype=np.uint32)
    return whole, ends


def _suffix_array(words: np.ndarray) -> np.ndarray:
    """Return the word positions in the order of the suffixes that begin there (i32)."""
    try:
        from pydivsufsort import divsufsort
    except ImportError:
        raise InputError(
            "substring needs pydivsufsort: pip install 'windtunnel[substring]', or `scope: corpus`"
        ) from None
    if not len(words):
        return np.empty(0, np.int32)
    positions = divsufsort(words.astype(">u4").view(np.uint8))
    return (positions[positions % 4 == 0] // 4).astype(np.int32)
