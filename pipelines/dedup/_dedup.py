"""The base class of deduplication methods, and of those that compare keys of documents or of parts of documents.

A method is a file in `pipelines/dedup/` whose class adds the steps that find duplicates.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from blake3 import blake3
from pydantic import field_validator

from windtunnel.pipelines.dedup.matching import band_keys
from windtunnel.pipelines.dedup.matching.key_index import INDEX, as_folders, check_indexes, index_notes
from windtunnel.pipelines.shards.columns import check_column, stored_columns
from windtunnel.pipelines.shards.reader import BATCH_ROWS, Batch, Shard, ShardWork
from windtunnel.schemas.artifact import Artifact, canonical_json, write_text
from windtunnel.schemas.plugin import Plugin, label
from windtunnel.schemas.work import Counts, Work

Add = Callable[[str, Work, Mapping[str, Any]], Any]


class Example(NamedTuple):
    """Documents and those that a method keeps; `windtunnel check dedup NAME` runs it."""

    texts: tuple[str, ...]
    kept: tuple[str, ...]  # in order, as the method leaves them
    params: Mapping[str, Any] = {}
    columns: Mapping[str, tuple[str, ...]] = {}  # other columns of the documents, such as url
    shards: int = 2  # that the documents are dealt over

    @property
    def shown(self) -> str:
        """The number of documents and the parameters."""
        return f"{len(self.texts)} documents{f' with {dict(self.params)}' if self.params else ''}"


class Dedup(Plugin):
    """A way to find duplicates, and which of them stays.

    `steps` adds the method's steps to a plan and returns the one whose artifact has `decisions/`, and, where `edits`
    is true, `documents/` too: the same documents, row by row, with text cut out; later steps read those instead.
    """

    edits: ClassVar[bool] = False
    examples: ClassVar[tuple[Example, ...]] = ()

    @classmethod
    def facts(cls) -> dict[str, Any]:
        """Return whether the text of kept documents is edited."""
        return {"edits": cls.edits}

    @property
    def name(self) -> str:
        """The method's label, which is also the reason of its drops."""
        return label(self)

    @abstractmethod
    def steps(self, add: Add, corpus: str, documents: Any, decisions: Any | None, measures: Sequence[Any] = ()) -> Any:
        """Add the method's steps; `documents` and `decisions` (or None) are the steps to read from.

        `measures`: steps whose `measures/` are row-aligned with the documents, in the order of the steps.
        """


class IndexedDedup(Dedup):
    """A method that compares keys, within a corpus and with an index of keys kept from other data.

    `within` names a column: only documents with the same value in it are compared (`within: source`).
    `index` is a directory of keys, or a list of them.
    """

    within: str | None = None
    index: str | tuple[str, ...] | None = None

    @field_validator("within")
    @classmethod
    def _known_within(cls, name: str | None) -> str | None:
        return None if name is None else check_column(name)

    @abstractmethod
    def comparable(self) -> dict[str, Any]:
        """Return the parameters that the keys of an index must share with this method's."""

    def joining(self) -> dict[str, Any]:
        """Return the fields that a KeyJoin takes from the method; raises as `check_indexes` does."""
        fingerprint = check_indexes(as_folders(self.index), self.comparable())
        return {"index": self.index, "index_fingerprint": fingerprint}


class Signed(NamedTuple):
    """The keys of a batch, and the scores of its documents.

    `key`: u64[bands, n]. `row`: u32[n], row of the document in its shard. `check`: u64[n], compared where keys are
    equal. `unit`: u32[n], where in the document the key begins. `scores`: u64[documents], the highest stays.
    """

    key: np.ndarray
    row: np.ndarray
    check: np.ndarray | None = None
    unit: np.ndarray | None = None
    scores: np.ndarray | None = None


class KeyWork(ShardWork):
    """Write the keys of the documents of a shard that no earlier step has dropped.

    Inputs: `documents` and, if any, prior `decisions`; where a measured value counts, roles that begin with `measures`.
    Writes `keys/NNNNN.arrow`, `scores/NNNNN.arrow` where there are scores, and `index.json`: the artifact can serve as
    an index.
    """

    @abstractmethod
    def comparable(self) -> dict[str, Any]:
        """Return the parameters that keys to be compared with these must share."""

    @abstractmethod
    def reads(self) -> tuple[list[str], list[str]]:
        """Return the document columns and the measured columns that `sign` needs."""

    @abstractmethod
    def sign(self, batch: Batch) -> Signed:
        """Return the keys of a batch."""

    def notes(self, documents: int, keys: int) -> dict[str, float | int | str]:
        """Return the notes of a shard, from the numbers of living documents and of keys in a band."""
        return {"keys": keys}

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        names, measured = self.reads()
        columns = stored_columns(names)
        shard, parts, seen, size = Shard(inputs, rank), [], 0, 0
        batches = shard.batches(columns, BATCH_ROWS, measured)
        for batch in batches if shard.rows else [shard.empty(columns, measured)]:
            parts.append(self.sign(batch))
            seen, size = seen + int(batch.alive.sum()), size + batch.rows.nbytes
        key, row, check, unit, scores = map(_joined, zip(*parts, strict=True))
        band_keys.write(out / band_keys.FOLDER / f"{rank:05d}.arrow", key, row, check, shard.rows, unit)
        if scores is not None:
            band_keys.write_arrays(out / "scores" / f"{rank:05d}.arrow", {"score": scores}, {})
        return Counts(seen=seen, kept=seen, bytes=size, notes=self.notes(seen, len(row)))

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        write_text(out / INDEX, canonical_json(index_notes(out, self.comparable())))


def _joined(parts: Sequence[Any]) -> Any:
    return None if parts[0] is None else np.concatenate(parts, axis=-1)


def inputs_of(documents: Any, decisions: Any | None) -> dict[str, Any]:
    """Return the steps to read from by role."""
    return {"documents": documents} if decisions is None else {"documents": documents, "decisions": decisions}


def apart(key: np.ndarray, values: pa.Array) -> np.ndarray:
    """Return keys (bands x n) that are equal only where `values` (n) are too."""
    texts = values.cast(pa.string()).to_pylist()
    salts = {text: _salt(text) for text in set(texts)}
    salt = np.array([salts[text] for text in texts], np.uint64)
    mixed = (key ^ salt) * np.uint64(0x9E3779B97F4A7C15)  # spread again: key ranges must stay evenly filled
    return mixed ^ (mixed >> np.uint64(32))


def _salt(text: str | None) -> int:
    return int.from_bytes(blake3(b"" if text is None else b"=" + text.encode()).digest(8), "little")
