"""Near-duplicates by MinHash: word n-grams, banded signatures, clusters of documents that share a band."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from windtunnel.pipelines.dedup import _minhash_reference as reference
from windtunnel.pipelines.dedup._dedup import Example
from windtunnel.pipelines.dedup._keyed import KeyedDedup, Sign
from windtunnel.pipelines.features.buffers import text_buffers
from windtunnel.pipelines.features.folding import FOLDING, Normalisation, table

HASHES = 112  # 14 bands of 8, as in FineWeb
CLOSE = 0.005  # how far the midpoint of bands x rows may lie from the threshold
_LONG = " ".join(f"word{n}" for n in range(200))


class Minhash(KeyedDedup):
    """Documents whose signatures agree in a band are near-duplicates (Broder 1997; defaults as in FineWeb).

    `threshold` is the Jaccard similarity of word `ngram` sets at which the chance of being found rises,
    (1/bands)^(1/rows): it determines bands and rows when they are not given, and is checked against them when they are.
    A document with fewer than `ngram` words has no signature and is kept; it is counted as `without_key`.
    `words: exact` uses datatrove's tokens and 64-bit hash family: signatures equal datatrove's bit for bit.
    """

    version: ClassVar[int] = 2
    primary = "threshold"
    examples: ClassVar[tuple[Example, ...]] = (
        Example((_LONG, "too short", _LONG + " indeed", "too short"), (_LONG, "too short", "too short")),
        Example((_LONG, _LONG + " indeed"), (_LONG + " indeed",), {"keep": "longest"}),
    )
    threshold: float | None = Field(None, gt=0, lt=1)
    bands: int | None = Field(None, ge=1, le=1000)
    rows: int | None = Field(None, ge=1, le=1000)
    ngram: int = Field(5, ge=1, le=100)
    seed: int = Field(1, ge=0)
    words: Literal["fast", "exact"] = "fast"
    hash: Literal["xxhash", "sha1"] = "xxhash"  # of `words: exact`
    normalise: Normalisation = Normalisation()

    @model_validator(mode="after")
    def _agree(self) -> Minhash:
        if (self.bands is None) != (self.rows is None):
            raise ValueError("give both `bands` and `rows`, or neither")
        if self.bands and self.rows and self.threshold and abs(midpoint(self.bands, self.rows) - self.threshold) > 0.02:
            better, lies = "x".join(map(str, shape(self.threshold))), midpoint(self.bands, self.rows)
            raise ValueError(
                f"{self.bands} bands of {self.rows} rows have their threshold at {lies:.3f}, "
                f"not at {self.threshold}: leave bands and rows out ({better} would be taken), or the threshold"
            )
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """(bands, rows), as given or as the threshold asks for."""
        if self.bands and self.rows:
            return self.bands, self.rows
        return shape(self.threshold) if self.threshold else (14, 8)

    def signing(self) -> Sign:
        return MinhashSign(minhash=self)

    def comparable(self) -> dict[str, Any]:
        chosen = self.model_dump(mode="json", include={"ngram", "seed", "words", "normalise", "within"})
        bands, rows = self.shape
        exact = self.words == "exact"
        family = {"hash": self.hash, "folding": 0} if exact else {"hash": "multiply-add 32", "folding": FOLDING}
        return {"method": "minhash", "bands": bands, "rows": rows, **family, **chosen}


class MinhashSign(Sign):
    """One key a band and document: the hash of the band's minima."""

    minhash: Minhash

    @property
    def method(self) -> KeyedDedup:
        return self.minhash

    @property
    def columns(self) -> list[str]:
        return ["text"]

    def keys(self, rows: pa.RecordBatch, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        minima, counts = signatures_of(self.minhash, rows.column("text"), alive)
        from windtunnel.pipelines.features.kernels.minhash import band_keys

        keys = np.empty((self.minhash.shape[0], rows.num_rows), np.uint64)
        band_keys(minima, *self.minhash.shape, keys)
        return keys, None, counts > 0


def signatures_of(minhash: Minhash, texts: pa.Array, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (minima: u32, or u64 with `words: exact`, documents x bands*rows; number of n-grams a document)."""
    if minhash.words == "exact":
        bands, rows = minhash.shape
        parameters = reference.Parameters(bands * rows, minhash.ngram, minhash.seed, minhash.hash, minhash.normalise)
        return reference.signatures(parameters, texts, alive)
    from windtunnel.pipelines.features.kernels.minhash import signatures

    data, offsets = text_buffers(texts)
    bands, rows = minhash.shape
    minima = np.empty((len(texts), bands * rows), np.uint32)
    a, b = family(minhash.seed, bands * rows)
    counts = signatures(data, offsets, alive, *table(minhash.normalise), minhash.ngram, a, b, minima)
    return minima, counts


def family(seed: int, hashes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the multipliers (odd) and addends, u32, of the fast hash family."""
    state = np.random.RandomState(seed)  # its streams are frozen by numpy's compatibility policy
    a = state.randint(0, 1 << 32, size=hashes, dtype=np.uint64) | np.uint64(1)
    return a.astype(np.uint32), state.randint(0, 1 << 32, size=hashes, dtype=np.uint64).astype(np.uint32)


def midpoint(bands: int, rows: int) -> float:
    """Return the similarity at which a pair's chance of sharing a band climbs steepest, (1/bands)^(1/rows)."""
    return (1 / bands) ** (1 / rows)


def shape(threshold: float, hashes: int = HASHES) -> tuple[int, int]:
    """Return (bands, rows) of at most `hashes` for a threshold: the longest rows that come close, else the nearest."""
    options = []
    for rows in range(1, hashes + 1):
        bands = min(max(1, round(min(threshold**-rows, 1e9))), hashes // rows)
        options.append((abs(midpoint(bands, rows) - threshold), rows, bands))
    close = [option for option in options if option[0] <= CLOSE]
    _, rows, bands = max(close, key=lambda option: option[1]) if close else min(options)
    return bands, rows
