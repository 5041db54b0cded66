"""Keeps one of the documents that begin with the same line.

In a recipe: `corpora: {NAME: {from: OTHER, dedup: ./new_part.py:NewPart}}`
On files: `windtunnel dedup IN OUT --kind ./new_part.py:NewPart`
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from blake3 import blake3

from windtunnel.pipelines.dedup._dedup import Example
from windtunnel.pipelines.dedup._keyed import KeyedDedup, Sign


class NewPart(KeyedDedup):
    """Documents whose first lines are equal, in small letters, are duplicates; a first line without text is none."""

    version: ClassVar[int] = 1  # raise it whenever the same parameters give other keys

    # Documents and those that are kept: `windtunnel check dedup ./new_part.py:NewPart` runs them.
    examples: ClassVar[tuple[Example, ...]] = (
        Example(("Title\none", "Other\ntwo", "TITLE\nthree", "\n"), ("Title\none", "Other\ntwo", "\n")),
        Example(("Title\none", "Title\nlonger"), ("Title\nlonger",), {"keep": "longest"}),
    )

    def signing(self) -> Sign:
        """Return the work that makes the keys."""
        return NewPartKeys(dedup=self)

    def comparable(self) -> dict[str, Any]:
        """Return the parameters that the keys of an index must share with these."""
        return {"method": "new_part", "within": self.within}


class NewPartKeys(Sign):
    """The step that makes one key a document."""

    dedup: NewPart

    @property
    def method(self) -> KeyedDedup:
        """The method whose keys these are."""
        return self.dedup

    @property
    def columns(self) -> list[str]:
        """The columns that keys are made from."""
        return ["text"]

    def nothing(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the keys of no documents."""
        return np.empty((1, 0), np.uint64), None

    def keys(self, rows: pa.RecordBatch, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return (u64 keys, 1 x rows; u64 checks, one a row, or None; bool, which rows have a key) of a batch."""
        lines = [text.partition("\n")[0].strip().lower() for text in rows.column("text").to_pylist()]
        keys = [int.from_bytes(blake3(line.encode()).digest(8), "little") for line in lines]
        return np.array([keys], np.uint64), None, np.array([bool(line) for line in lines], bool)
