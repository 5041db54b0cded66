"""The stateless, domain-keyed sampler of pretraining windows from a mix of tokenized corpora.

It computes batch k of a run from (mix, seed, k) alone, so that runs resume without replay and runs with the same seed
share as many draws as possible (common random numbers): their difference is then due to the data.

- The documents of a domain, each followed by end-of-text, are cut into pieces of a few windows. Pieces are read in the
  order of a hash of (seed, epoch, document id, copy, piece), so that corpora with common documents read the common
  pieces in the same relative order. Pieces are used because a small budget would otherwise cover only a few long
  documents, whose choice would dominate the variance between seeds. The copy number is hashed because exact duplicates
  have equal ids: without it all copies would be adjacent, which harms a model more than duplicates do, and the effect
  of deduplication would be overestimated.
- The pieces of an epoch form a stream, and epochs follow one another. The k-th draw of a domain is its k-th window of
  context + 1 tokens. Windows overlap by one token, so that each token but the first is predicted once per epoch.
- The order of domains depends on the weights alone. The k-th of a domain's n windows is due at (k + 1/2) / n, and
  windows are ordered by due time. A domain deviates from its share by at most two windows, and by one at the end.

Memory: 48 bytes per piece, 10 bytes per window; tokens are read from memory-mapped files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import polars as pl
from blake3 import blake3

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.trainer.data.splitmix import GOLDEN, finalise

_COPY = np.uint64(0xD1342543DE82EF95)  # odd, so that the copies of a document have distinct keys


@dataclass(frozen=True)
class Share:
    """A corpus of a mix and its share of the tokens."""

    name: str
    weight: float


def read_mix(artifact: Artifact) -> tuple[list[Share], int]:
    """Return the domains and the token budget of a mix artifact."""
    mix = json.loads((artifact.path / "mix.json").read_text(encoding="utf-8"))
    return [Share(d["name"], d["weight"]) for d in mix["domains"]], mix["token_budget"]


class Domain:
    """The infinite token stream of one corpus in the order of one seed."""

    def __init__(self, name: str, artifact: Artifact, seed: int, piece_tokens: int) -> None:
        self.name, self.seed, self._artifact = name, seed, artifact
        files = artifact.files("tokens", ".ds")
        if not files or [f.stem for f in files] != [f.stem for f in artifact.files("documents")]:
            raise InputError(f"{artifact.path.name}: token shards and document sidecars do not match")
        ends = [np.fromfile(f.with_name(f.name + ".index"), "<u8").astype(np.int64) for f in files]
        lengths = np.concatenate([np.diff(e, prepend=0) for e in ends])
        self.tokens = int(lengths.sum())
        if self.tokens == 0:
            raise InputError(f"corpus {name!r} has no tokens")
        keys = _keys(self._sidecar("id")["id"])
        if len(keys) != len(lengths):
            raise InputError(f"{artifact.path.name}: the index has {len(lengths)} documents, the sidecar {len(keys)}")
        dtype = _dtype(files, ends)
        self._shards = [np.memmap(f, dtype, "r") if f.stat().st_size else np.empty(0, dtype) for f in files]
        self._shard_starts = np.cumsum([0] + [len(shard) for shard in self._shards])
        self._cut(lengths, keys, piece_tokens)
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _cut(self, lengths: np.ndarray, keys: np.ndarray, piece_tokens: int) -> None:
        """Compute document, length, start (in the concatenated shards) and key of every piece."""
        number = -(-lengths // piece_tokens)
        self._document = np.repeat(np.arange(len(lengths)), number)
        within = np.arange(len(self._document)) - np.repeat(np.cumsum(number) - number, number)
        self._lengths = np.minimum(piece_tokens, lengths[self._document] - within * piece_tokens)
        self._starts = np.cumsum(self._lengths) - self._lengths
        keys = keys ^ (_copies(keys) * _COPY)
        self._keys = keys[self._document] + within.astype(np.uint64) * GOLDEN

    def epoch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (order, ends) of an epoch: piece numbers in reading order, and cumulative token counts."""
        if number not in self._epochs:
            if len(self._epochs) > 1:  # a window spans at most two epochs of a corpus longer than a window
                self._epochs.pop(min(self._epochs))
            order = np.argsort(_mixed(self._keys, self.seed, number), kind="stable")
            self._epochs[number] = order, np.cumsum(self._lengths[order])
        return self._epochs[number]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return tokens [start, stop) of the stream, int64."""
        out = np.empty(stop - start, np.int64)
        filled = 0
        for piece, low, high in self._pieces(start, stop):
            at = int(self._starts[piece])
            shard = int(np.searchsorted(self._shard_starts, at, side="right")) - 1
            base = at - int(self._shard_starts[shard])
            out[filled : filled + high - low] = self._shards[shard][base + low : base + high]
            filled += high - low
        return out

    def documents(self, start: int, stop: int) -> list[str]:
        """Return the ids of the documents of tokens [start, stop), read from the sidecar."""
        numbers = [int(self._document[piece]) for piece, _, _ in self._pieces(start, stop)]
        return self._sidecar("id")["id"].gather(numbers).to_list()

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Yield (piece, first token, end token) of the parts of pieces that cover [start, stop) of the stream."""
        while start < stop:
            number, offset = divmod(start, self.tokens)
            order, ends = self.epoch(number)
            place = int(np.searchsorted(ends, offset, side="right"))
            while start < stop and place < len(order):
                piece = int(order[place])
                length = int(self._lengths[piece])
                low = offset - (int(ends[place]) - length)
                high = min(length, low + stop - start)
                yield piece, low, high
                start, offset, place = start + high - low, offset + high - low, place + 1

    def realised(self, stop: int) -> list[dict[str, Any]]:
        """Return tokens, bytes, documents and epochs by source within tokens [0, stop) of the stream.

        The bytes of a partially read document are counted in proportion to its tokens.
        """
        whole, rest = divmod(stop, self.tokens)
        order, ends = self.epoch(whole)
        partial = np.zeros(len(order), np.int64)
        partial[order] = np.clip(rest - (ends - self._lengths[order]), 0, self._lengths[order])
        table = self._sidecar("source", "bytes", "tokens")
        drawn = whole * table["tokens"].to_numpy()
        drawn = drawn + np.bincount(self._document, partial, len(drawn)).astype(np.int64)
        sums = (
            table.with_columns(pl.Series("drawn", drawn))
            .with_columns((pl.col("bytes") * pl.col("drawn") / pl.col("tokens")).alias("drawn_bytes"))
            .group_by("source")
            .agg(pl.col("tokens", "drawn", "drawn_bytes").sum(), (pl.col("drawn") > 0).sum().alias("documents"))
        )
        return [
            {
                "domain": self.name,
                "source": row["source"],
                "tokens": row["drawn"],
                "bytes": round(row["drawn_bytes"]),
                "documents": row["documents"],
                "epochs": row["drawn"] / row["tokens"],
            }
            for row in sums.sort("source").iter_rows(named=True)
        ]

    def _sidecar(self, *columns: str) -> pl.DataFrame:
        return pl.concat([pl.read_parquet(f, columns=list(columns)) for f in self._artifact.files("documents")])


class Windows:
    """The windows of a run: their order over domains, and the tokens of each."""

    def __init__(self, shares: Sequence[Share], domains: Mapping[str, Domain], context: int, number: int) -> None:
        self.context, self.number = context, number
        self.domains = [domains[share.name] for share in shares]
        self.counts = apportion(np.array([share.weight for share in shares]), number)
        due = np.concatenate([(np.arange(n) + 0.5) / n for n in self.counts if n])
        owner = np.repeat(np.arange(len(shares), dtype=np.uint16), self.counts)
        order = np.argsort(due, kind="stable")
        draw = np.concatenate([np.arange(n) for n in self.counts])
        self._owner, self._draw = owner[order], draw[order]

    def where(self, window: int) -> tuple[Domain, int, int]:
        """Return (domain, start, stop) of a window, in tokens of the domain's stream."""
        start = int(self._draw[window]) * self.context
        return self.domains[self._owner[window]], start, start + self.context + 1

    def tokens(self, first: int, last: int) -> np.ndarray:
        """Return windows [first, last) as int64 [last - first, context + 1]."""
        rows = [self.where(window) for window in range(first, last)]
        return np.stack([domain.read(start, stop) for domain, start, stop in rows])

    def realised(self) -> list[dict[str, Any]]:
        """Return tokens, bytes, documents and epochs by domain and source, over all predicted tokens."""
        drawn = zip(self.domains, self.counts, strict=True)
        return [row for domain, n in drawn if n for row in domain.realised(int(n) * self.context)]


class DocumentIds(Sequence[str]):
    """The ids of the documents in windows [first, last), looked up lazily."""

    def __init__(self, windows: Windows, first: int, last: int) -> None:
        self._windows, self._range = windows, range(first, last)

    def _all(self) -> list[str]:
        ids: dict[str, None] = {}
        for window in self._range:
            domain, start, stop = self._windows.where(window)
            ids |= dict.fromkeys(domain.documents(start, stop))
        return list(ids)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())


def apportion(weights: np.ndarray, number: int) -> np.ndarray:
    """Return integers proportional to `weights` that sum to `number`, by largest remainders; ties go to the first."""
    exact = weights / weights.sum() * number
    counts = np.floor(exact + 1e-9).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: number - int(counts.sum())]] += 1
    return counts


def _dtype(files: Sequence[Path], ends: Sequence[np.ndarray]) -> np.dtype:
    """Return the token dtype of the shards from their sizes. Raises InputError if a shard is truncated."""
    sizes = set()
    for file, end in zip(files, ends, strict=True):
        total, size = int(end[-1]) if len(end) else 0, file.stat().st_size
        if size not in (2 * total, 4 * total):
            raise InputError(
                f"{file}: {size} bytes are too few for the {total} tokens of its index; the file is cut short"
            )
        if total:
            sizes.add(size // total)
    if len(sizes) > 1:
        raise InputError(f"{files[0].parent}: the shards mix two-byte and four-byte tokens")
    return np.dtype("<u4" if sizes == {4} else "<u2")


def _keys(ids: pl.Series) -> np.ndarray:
    """Return 64 bits of each document id, u64 [documents]; ids other than blake3 digests are hashed first."""
    if ids.str.contains(r"^[0-9a-f]{32}$").all():
        halves = [ids.str.slice(start, 8).str.to_integer(base=16, dtype=pl.UInt64).to_numpy() for start in (0, 8)]
        return (halves[0] << np.uint64(32)) | halves[1]
    return np.array([int.from_bytes(blake3(key.encode()).digest()[:8], "big") for key in ids], np.uint64)


def _copies(keys: np.ndarray) -> np.ndarray:
    """Return for each document the number of earlier documents with the same key, u64."""
    order = np.argsort(keys, kind="stable")
    ordered, places = keys[order], np.arange(len(keys))
    firsts = np.maximum.accumulate(np.where(np.diff(ordered, prepend=~ordered[:1]) != 0, places, 0))
    copies = np.empty(len(keys), np.uint64)
    copies[order] = places - firsts
    return copies


def _mixed(keys: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Return a hash of (seed, epoch, key), u64: SplitMix64 of the key and a salt of seed and epoch."""
    salt = np.uint64(int.from_bytes(blake3(f"{seed}/{epoch}".encode()).digest()[:8], "big"))
    return finalise((keys ^ salt) + GOLDEN)
