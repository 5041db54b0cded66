"""A tokenized corpus as the streams of its sources: the pieces of its documents in the order of one seed.

trainer.data.sampler draws windows from the streams. The documents of a corpus, each followed by end-of-text, are cut
into pieces of at most one window, so that a batch holds many documents. A source with enough tokens has a stream of its
own, in which every stretch holds short and long documents in proportion (trainer.data.stratified); small sources share
one, in which each is a stratum. The streams of a corpus depend on its tokens alone.

Pieces are ordered by a hash of (seed, epoch, document id, copy, piece). The copy number is hashed because exact
duplicates have equal ids: without it all copies would be adjacent, which harms a model more than duplicates do, and the
effect of deduplication would be overestimated.

Memory: 52 bytes per piece, and 20 per piece of the epoch that is read; tokens are read from memory-mapped files.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from windtunnel.schemas.artifact import Artifact
from windtunnel.schemas.errors import InputError
from windtunnel.trainer.data.splitmix import GOLDEN, finalise
from windtunnel.trainer.data.stratified import Strata, digest, stratified_order

OWN_SHARE = 1 / 256  # of a corpus's tokens: smaller sources share one stream
OWN_WINDOWS = 8  # contexts of tokens: so do sources that would be repeated within a few windows
_COPY = np.uint64(0xD1342543DE82EF95)  # odd, so that the copies of a document have distinct keys


class Order(NamedTuple):
    """A value of each document of a corpus, a Parquet file with the column `value`, and which end comes first."""

    file: Path
    descending: bool = False


class Domain:
    """One corpus in the order of one seed.

    `streams` cover the corpus, those of large sources by name first, the one of small sources last. Raises InputError
    for an artifact that is damaged or empty.
    """

    def __init__(self, name: str, artifact: Artifact, seed: int, context: int, piece_tokens: int) -> None:
        self.name, self.seed, self._artifact = name, seed, artifact
        files = artifact.files("tokens", ".ds")
        if not files or [f.stem for f in files] != [f.stem for f in artifact.files("documents")]:
            raise InputError(f"{artifact.path.name}: token shards and document sidecars do not match")
        ends = [np.fromfile(f.with_name(f.name + ".index"), "<u8").astype(np.int64) for f in files]
        lengths = np.concatenate([np.diff(e, prepend=0) for e in ends])
        self.tokens = int(lengths.sum())
        if self.tokens == 0:
            raise InputError(f"corpus {name!r} has no tokens")
        sidecar = self._sidecar("id", "source")
        keys = _keys(sidecar["id"])
        if len(keys) != len(lengths):
            raise InputError(f"{artifact.path.name}: the index has {len(lengths)} documents, the sidecar {len(keys)}")
        dtype = _dtype(files, ends)
        self._shards = [np.memmap(f, dtype, "r") if f.stat().st_size else np.empty(0, dtype) for f in files]
        self._shard_starts = np.cumsum([0] + [len(shard) for shard in self._shards])
        self.sources = sidecar["source"].unique().sort().to_list()
        source = sidecar["source"].rank("dense").to_numpy().astype(np.int64) - 1
        self.streams = self._streams(lengths, keys, source, context, piece_tokens)

    def _streams(
        self, lengths: np.ndarray, keys: np.ndarray, source: np.ndarray, context: int, piece_tokens: int
    ) -> list[Stream]:
        self.by_source = np.bincount(source, lengths, minlength=len(self.sources)).astype(np.int64)
        own = self.by_source >= max(OWN_SHARE * self.tokens, OWN_WINDOWS * context)
        keys = keys ^ (_copies(keys) * _COPY)
        starts = np.cumsum(lengths) - lengths
        of = np.where(own, np.arange(len(own)), len(own))[source]  # the stream of each document
        streams = []
        for stream in np.unique(of[lengths > 0]):
            at = np.flatnonzero(of == stream)
            names = [self.sources[k] for k in np.unique(source[at])]
            streams.append(Stream(self, names, at, starts[at], lengths[at], keys[at], source[at], piece_tokens))
        return streams

    def arranged(self, order: Order, drawn: Sequence[int]) -> Domain:
        """Return the corpus with one stream: the first `drawn` tokens of each of its streams, in the order of a value.

        Raises InputError for values that are not those of the corpus.
        """
        values = pl.read_parquet(order.file, columns=["value"])["value"].to_numpy().astype(np.float64)
        if len(values) != sum(pl.scan_parquet(f).select(pl.len()).collect().item() for f in self._sidecars()):
            raise InputError(f"{order.file}: {len(values)} values are not those of the corpus {self.name!r}")
        ordered = copy.copy(self)
        ordered.streams = [Arranged(ordered, self.streams, drawn, -values if order.descending else values)]
        return ordered

    def slice(self, start: int, stop: int) -> np.ndarray:
        """Return tokens [start, stop) of the concatenated shards; they lie in one document."""
        shard = int(np.searchsorted(self._shard_starts, start, side="right")) - 1
        base = int(self._shard_starts[shard])
        return self._shards[shard][start - base : stop - base]

    def ids(self, documents: list[int]) -> list[str]:
        """Return the ids of documents by number, read from the sidecar."""
        return self._sidecar("id")["id"].gather(documents).to_list()

    def realised(self, drawn: Mapping[int, tuple[int, int]]) -> list[dict[str, Any]]:
        """Return tokens, bytes, documents and epochs by source, of tokens [start, stop) by number of the stream.

        The bytes of a partially read document are counted in proportion to its tokens.
        """
        table = self._sidecar("source", "bytes", "tokens")
        counts = np.zeros(table.height, np.int64)
        for number, (start, stop) in drawn.items():
            self.streams[number].count(start, stop, counts)
        sums = (
            table.with_columns(pl.Series("drawn", counts))
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
        return pl.concat([pl.read_parquet(f, columns=list(columns)) for f in self._sidecars()])

    def _sidecars(self) -> list[Path]:
        return self._artifact.files("documents")


class Stream:
    """The infinite token stream of one source of a corpus, or of its small sources; epochs follow one another."""

    def __init__(
        self,
        domain: Domain,
        sources: Sequence[str],
        documents: np.ndarray,
        starts: np.ndarray,
        lengths: np.ndarray,
        keys: np.ndarray,
        source: np.ndarray,
        piece_tokens: int,
    ) -> None:
        """Cut documents, given by number in the domain, start in its shards, length, key and number of the source."""
        self.domain, self.sources = domain, tuple(sources)
        self.name = sources[0] if len(sources) == 1 else ""
        self.tokens = int(lengths.sum())
        number = -(-lengths // piece_tokens)
        which = np.repeat(np.arange(len(lengths)), number)
        within = np.arange(len(which)) - np.repeat(np.cumsum(number) - number, number)
        self._document = documents[which]
        self._lengths = np.minimum(piece_tokens, lengths[which] - within * piece_tokens)
        self._starts = starts[which] + within * piece_tokens
        self._opens = within == 0  # whether a piece is the beginning of its document
        self._keys = keys[which] + within.astype(np.uint64) * GOLDEN
        strata = Strata.by_source_and_length(source, domain.sources, lengths)
        self._strata, self._strata_keys = strata.of[which], strata.keys
        self.epoch = lru_cache(maxsize=2)(self._epoch)  # a window spans at most two epochs of more than a window

    def _epoch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (order, ends) of an epoch: piece numbers in reading order, and cumulative token counts."""
        salt = np.uint64(digest(f"{self.domain.seed}/{number}"))
        hashes, phases = (finalise((keys ^ salt) + GOLDEN) for keys in (self._keys, self._strata_keys))
        order = stratified_order(hashes, self._strata, self._lengths, phases / 2.0**64)
        return order, np.cumsum(self._lengths[order])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return tokens [start, stop) of the stream, int64."""
        out = np.empty(stop - start, np.int64)
        filled = 0
        for piece, low, high in self._pieces(start, stop):
            at = int(self._starts[piece])
            out[filled : filled + high - low] = self.domain.slice(at + low, at + high)
            filled += high - low
        return out

    def parts(self, start: int, stop: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield (tokens, the token before them in their document) of the parts of documents in [start, stop).

        None stands before the first token of a document.
        """
        for piece, low, high in self._pieces(start, stop):
            at = int(self._starts[piece]) + low
            opens = low == 0 and bool(self._opens[piece])
            yield self.domain.slice(at, at + high - low), None if opens else self.domain.slice(at - 1, at)

    def documents(self, start: int, stop: int) -> list[int]:
        """Return the numbers of the documents of tokens [start, stop)."""
        return [int(self._document[piece]) for piece, _, _ in self._pieces(start, stop)]

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

    def count(self, start: int, stop: int, counts: np.ndarray) -> None:
        """Add the tokens of each document within tokens [start, stop) of the stream to `counts` [documents]."""
        tokens = self._drawn(stop)
        np.add.at(counts, self._document, tokens - self._drawn(start) if start else tokens)

    def _drawn(self, stop: int) -> np.ndarray:
        """Return the tokens of each piece within tokens [0, stop) of the stream, int64 [pieces]."""
        whole, rest = divmod(stop, self.tokens)
        order, ends = self.epoch(whole)
        drawn = np.full(len(order), whole, np.int64) * self._lengths
        drawn[order] += np.clip(rest - (ends - self._lengths[order]), 0, self._lengths[order])
        return drawn

    def taken(self, stop: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield (piece, tokens, hash) arrays of tokens [0, stop) of the stream, one epoch after the other.

        The last piece is cut where `stop` cuts it.
        """
        for number in range(-(-stop // self.tokens)):
            order, ends = self.epoch(number)
            rest = min(self.tokens, stop - number * self.tokens)
            pieces = order[: int(np.searchsorted(ends, rest)) + 1]
            lengths = self._lengths[pieces].copy()
            lengths[-1] -= int(ends[len(pieces) - 1]) - rest
            yield pieces, lengths, finalise((self._keys[pieces] ^ np.uint64(digest(f"{number}/tie"))) + GOLDEN)


class Arranged(Stream):
    """What a run draws of a corpus, in the order of its documents' values within each epoch.

    It draws the same tokens as the run without the order, so that a difference between them is the order's. Pieces of
    equal values are in the order of hashes; documents without a value come last.
    """

    def __init__(self, domain: Domain, streams: Sequence[Stream], drawn: Sequence[int], values: np.ndarray) -> None:
        self.domain, self.sources = domain, tuple(domain.sources)
        self.name = streams[0].name if len(streams) == 1 else ""
        found = [
            (epoch, stream._starts[pieces], stream._opens[pieces], stream._document[pieces], lengths, ties)
            for stream, tokens in zip(streams, drawn, strict=True)
            for epoch, (pieces, lengths, ties) in enumerate(stream.taken(tokens))
        ]
        epochs = np.repeat([f[0] for f in found], [len(f[1]) for f in found])
        starts, opens, documents, lengths, ties = (
            np.concatenate(column) for column in list(zip(*found, strict=True))[1:]
        )
        order = np.lexsort((ties, values[documents], epochs))
        self._starts, self._opens, self._document = starts[order], opens[order], documents[order]
        self._lengths = lengths[order]
        self.tokens = int(self._lengths.sum())
        whole = np.arange(len(order)), np.cumsum(self._lengths)
        self.epoch = lru_cache(maxsize=1)(lambda number: whole)


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
    """Return 64 bits of each document id, u64 [documents]: those of a blake3 digest, or of the hash of another id.

    Each id is looked at by itself, so that one that is no digest does not change the order of the others.
    """
    hexadecimal = ids.str.contains(r"^[0-9a-f]{32}$").to_numpy()
    keys = np.empty(len(ids), np.uint64)
    halves = [ids.filter(hexadecimal).str.slice(start, 8).str.to_integer(base=16, dtype=pl.UInt64) for start in (0, 8)]
    keys[hexadecimal] = (halves[0].to_numpy() << np.uint64(32)) | halves[1].to_numpy()
    keys[~hexadecimal] = [digest(name) for name in ids.filter(~hexadecimal)]
    return keys


def _copies(keys: np.ndarray) -> np.ndarray:
    """Return for each document the number of earlier documents with the same key, u64."""
    order = np.argsort(keys, kind="stable")
    ordered, places = keys[order], np.arange(len(keys))
    firsts = np.maximum.accumulate(np.where(np.diff(ordered, prepend=~ordered[:1]) != 0, places, 0))
    copies = np.empty(len(keys), np.uint64)
    copies[order] = places - firsts
    return copies
