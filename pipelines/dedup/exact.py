"""Exact duplicates: equal text (normalised or as it is), equal URL, or an equal value in any column."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3
from pydantic import field_validator

from windtunnel.pipelines.dedup._dedup import Example
from windtunnel.pipelines.dedup._keyed import KeyedDedup, Sign
from windtunnel.pipelines.features.buffers import text_buffers
from windtunnel.pipelines.features.folding import FOLDING
from windtunnel.pipelines.features.word_hashes import word_hashes
from windtunnel.pipelines.shards.columns import check_column, column


class Exact(KeyedDedup):
    """Documents with the same value of `by` are duplicates, compared by 128 bits of BLAKE3.

    `by` is `text`, `url`, any other column or `meta.KEY`. Documents without a value have no duplicates; an empty
    string counts as no value, since CSV files write missing values so.
    `normalise` compares text by its words (lower case, numbers as 0, without punctuation and diacritics).
    """

    version: ClassVar[int] = 3
    primary = "by"
    examples: ClassVar[tuple[Example, ...]] = (
        Example(("a b", "c", "a b", "A  b!"), ("a b", "c", "A  b!")),
        Example(("a b", "c", "a b", "A  b!"), ("a b", "c"), {"normalise": True}),
        Example(("a", "b", "c", "d"), ("a", "c", "d"), {"by": "url"}, {"url": ("x", "x", "", "")}),
    )
    by: str = "text"
    normalise: bool = False

    @field_validator("by")
    @classmethod
    def _known_by(cls, name: str) -> str:
        return check_column(name)

    def signing(self) -> Sign:
        return ExactSign(exact=self)

    def comparable(self) -> dict[str, Any]:
        how = {"normalise": self.normalise, "folding": FOLDING if self.normalise else 0}
        return {"method": "exact", "by": self.by, "within": self.within, **how}


class ExactSign(Sign):
    """One key a document: the first half of its value's hash, with the second half as a check."""

    exact: Exact

    @property
    def method(self) -> KeyedDedup:
        return self.exact

    @property
    def columns(self) -> list[str]:
        return [self.exact.by]

    def keys(self, rows: pa.RecordBatch, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        values = column(rows, self.exact.by)
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            values = values.cast(pa.string())
        present = np.asarray(values.is_valid())
        if self.exact.by != "text":
            present = present & np.asarray(pc.binary_length(values).fill_null(0)).astype(bool)
        if self.exact.normalise:
            halves = word_hashes(values, alive & present)
            present = present & halves.any(axis=1)  # text without a word has no duplicates
        else:
            halves = _byte_hashes(values, alive & present)
        return halves[:, 0][np.newaxis], halves[:, 1], present


def _byte_hashes(values: pa.Array, alive: np.ndarray) -> np.ndarray:
    """Return 128 bits of BLAKE3 (u64[n, 2]) of each value; zero where `alive` is false."""
    data, offsets = text_buffers(values)
    text = memoryview(data)  # type: ignore[arg-type]
    digests = bytearray(16 * len(values))
    for i in np.flatnonzero(alive):
        digests[16 * i : 16 * i + 16] = blake3(text[offsets[i] : offsets[i + 1]]).digest(16)
    return np.frombuffer(bytes(digests), np.uint64).reshape(-1, 2)
