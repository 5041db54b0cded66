"""Exact duplicates: equal text (normalised or as it is), equal URL, or an equal value in any column."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3
from pydantic import field_validator

from windtunnel.pipelines.dedup._dedup import KeyedDedup, Sign
from windtunnel.pipelines.features.folding import FOLDING
from windtunnel.pipelines.shards.survivors import check_column, column, text_buffers


class Exact(KeyedDedup):
    """Documents with the same value of `by` are duplicates, compared by 128 bits of BLAKE3.

    `by` is `text`, `url`, any other column or `meta.KEY`; documents without a value have no duplicates; an empty
    one, as CSV files write what is missing, is no value.
    `normalise` compares text by its words (lower case, numbers as 0, without punctuation and diacritics).
    """

    version: ClassVar[int] = 3
    primary = "by"
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

    def nothing(self) -> tuple[np.ndarray, np.ndarray | None]:
        return np.empty((1, 0), np.uint64), np.empty(0, np.uint64)

    def keys(self, rows: pa.RecordBatch, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        values = column(rows, self.exact.by)
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            values = values.cast(pa.string())
        present = np.asarray(values.is_valid())
        if self.exact.by != "text":
            present = present & np.asarray(pc.binary_length(values).fill_null(0)).astype(bool)  # type: ignore[attr-defined]
        if self.exact.normalise:
            halves = _word_hashes(values, alive & present)
            present = present & halves.any(axis=1)  # text without a word has no duplicates
        else:
            halves = _byte_hashes(values, alive & present)
        return halves[:, 0][np.newaxis], halves[:, 1], present


def _byte_hashes(values: pa.Array, wanted: np.ndarray) -> np.ndarray:
    data, offsets = text_buffers(values)
    held = memoryview(data)  # type: ignore[arg-type]
    digests = bytearray(16 * len(values))
    for i in np.flatnonzero(wanted):
        digests[16 * i : 16 * i + 16] = blake3(held[offsets[i] : offsets[i + 1]]).digest(16)
    return np.frombuffer(bytes(digests), np.uint64).reshape(-1, 2)


def _word_hashes(values: pa.Array, wanted: np.ndarray) -> np.ndarray:
    from windtunnel.pipelines.features.folding import table
    from windtunnel.pipelines.features.kernels.minhash import document_hashes

    data, offsets = text_buffers(values)
    return document_hashes(data, offsets, wanted, *table())
