"""What deduplication methods share: keys of documents, joined by sorting, clustered, one member of each kept.

A method is a file in `pipelines/dedup/` whose class says how documents become keys; equal keys make duplicates.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from blake3 import blake3
from pydantic import field_validator, model_validator

from windtunnel.pipelines.dedup.matching import band_keys, choice
from windtunnel.pipelines.dedup.matching.clusters import Cluster, Decide
from windtunnel.pipelines.dedup.matching.join import Join
from windtunnel.pipelines.dedup.matching.key_index import INDEX, as_folders, check_indexes, index_notes
from windtunnel.pipelines.shards.survivors import check_column, column, measured_column, stored_columns, survivors
from windtunnel.schemas.artifact import Artifact, canonical_json, write_text
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import Plugin, label
from windtunnel.schemas.work import Counts, Work

Add = Callable[[str, Work, Mapping[str, Any]], Any]


class Dedup(Plugin):
    """A way to find duplicates, and which of them stays.

    `steps` adds the method's steps to a plan and returns the one whose artifact holds `decisions/`, and, where `edits`
    is true, `documents/` too: the same documents, row by row, with text taken out; what follows reads those instead.
    """

    edits: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The method's label, which is also the reason of its drops."""
        return label(self)

    @abstractmethod
    def steps(self, add: Add, corpus: str, documents: Any, decisions: Any | None, measures: Sequence[Any] = ()) -> Any:
        """Add the method's steps; `documents` and `decisions` (or None) are the steps to read from.

        `measures`: steps whose `measures/` are row-aligned with the documents, later ones over earlier ones.
        """


class KeyedDedup(Dedup):
    """Duplicates are documents that share a key: sign -> join -> cluster -> decide.

    `keep` says which member of a cluster stays: `first`, `longest`, `highest COLUMN` or `lowest COLUMN` (a column of
    the documents, `meta.KEY`, or `why.NAME`: a value that a rule has measured before, as in `highest why.quality`).
    With `priority`, members whose `priority_column` holds an earlier word win first.
    `within` names a column: only documents with the same value in it are compared (`within: source`).
    `index` is a directory of keys kept from other data, or a list of them: a cluster that touches one goes as a whole.
    """

    keep: str = "first"
    priority: tuple[str, ...] = ()
    priority_column: str = "source"
    within: str | None = None
    index: str | tuple[str, ...] | None = None

    @field_validator("priority_column", "within")
    @classmethod
    def _known_column(cls, name: str | None) -> str | None:
        return None if name is None else check_column(name)

    @field_validator("keep")
    @classmethod
    def _known_choice(cls, keep: str) -> str:
        choice.parse(keep)
        return keep

    @model_validator(mode="after")
    def _short_priority(self) -> KeyedDedup:
        choice.parse(self.keep, self.priority_column, self.priority)
        return self

    @property
    def choice(self) -> choice.Choice:
        """The parsed `keep` and `priority`."""
        return choice.parse(self.keep, self.priority_column, self.priority)

    @abstractmethod
    def signing(self) -> Sign:
        """Return the work that makes this method's keys."""

    @abstractmethod
    def comparable(self) -> dict[str, Any]:
        """Return the parameters that keys of an index must share with ours."""

    def steps(self, add: Add, corpus: str, documents: Any, decisions: Any | None, measures: Sequence[Any] = ()) -> Any:
        read = {"documents": documents} if decisions is None else {"documents": documents, "decisions": decisions}
        fingerprint = check_indexes(as_folders(self.index), self.comparable())
        keys = add(f"{self.name}_sign:{corpus}", self.signing(), read | self._measured(measures))
        edges = add(f"{self.name}_join:{corpus}", Join(index=self.index, index_fingerprint=fingerprint), {"keys": keys})
        clusters = add(f"{self.name}_cluster:{corpus}", Cluster(), {"keys": keys, "edges": edges})
        name = f"{self.name}:{corpus}"
        return add(name, Decide(reason=self.name, step=name), {**read, "clusters": clusters})

    def _measured(self, measures: Sequence[Any]) -> dict[str, Any]:
        """Return the measuring steps by role where `keep` needs them: else no key of a step may depend on them."""
        if self.choice.measured is None:
            return {}
        if not measures:
            raise RecipeError(
                f"{self.name}: `keep: {self.keep}` asks for a measured value, but nothing is measured before it: give "
                "the corpus `rules:` that measure it (what several corpora measured does not pass into their union)"
            )
        return {f"measures{i}": step for i, step in enumerate(measures, start=1)}


class Sign(Work):
    """Makes the keys of the living documents of a shard, and their scores where one is needed to choose.

    Inputs: `documents` and, if any, prior `decisions`; where a measured value counts, roles that begin with `measures`.
    Writes `keys/NNNNN.arrow`, `scores/NNNNN.arrow` (one a row of the shard) and `index.json`, which makes the artifact
    an index as it is.
    """

    version: ClassVar[int] = 2

    @property
    @abstractmethod
    def method(self) -> KeyedDedup:
        """The method whose keys these are."""

    def plugins(self) -> list[Plugin]:
        return [self.method]

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """Columns that keys are made from."""

    @abstractmethod
    def keys(self, rows: pa.RecordBatch, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return (u64 keys, bands x rows; u64 checks or None; bool, which rows have keys) of a batch."""

    def shards(self, inputs: Mapping[str, Artifact]) -> int:
        return len(inputs["documents"].files("documents"))

    def run(self, inputs: Mapping[str, Artifact], out: Path, rank: int) -> Counts:
        parts = list(self._batches(inputs, rank))
        documents = sum(part[4] for part in parts)
        if parts:
            key = np.concatenate([part[0] for part in parts], axis=1)
            check = None if parts[0][1] is None else np.concatenate([part[1] for part in parts])
            row = np.concatenate([part[2] for part in parts])
        else:
            key, check, row = *self.nothing(), np.empty(0, np.uint32)
        band_keys.write(out / band_keys.FOLDER / f"{rank:05d}.arrow", key, row, check, documents)
        if self.method.choice.scored:
            scores = np.concatenate([part[3] for part in parts]) if parts else np.empty(0, np.uint64)
            band_keys.write_arrays(out / "scores" / f"{rank:05d}.arrow", {"score": scores}, {})
        alive, size = sum(part[5] for part in parts), sum(part[6] for part in parts)
        return Counts(seen=alive, kept=alive, bytes=size, notes={"without_key": alive - len(row)})

    def nothing(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return keys and checks of no documents."""
        raise NotImplementedError

    def finish(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        write_text(out / INDEX, canonical_json(index_notes(out, self.method.comparable())))

    def _batches(self, inputs: Mapping[str, Artifact], rank: int) -> Iterator[tuple[Any, ...]]:
        chosen, within = self.method.choice, self.method.within
        wanted = [*self.columns, *chosen.columns, *([within] if within else [])]
        measured = None if chosen.measured is None else measured_column(inputs, rank, chosen.measured)
        for batch in survivors(inputs, rank, stored_columns(wanted)):
            key, check, keyed = self.keys(batch.rows, batch.alive)
            keyed &= batch.alive
            key = key[:, keyed]
            if within:
                key = apart(key, column(batch.rows, within).filter(pa.array(keyed)))
            rows = (np.flatnonzero(keyed) + batch.first).astype(np.uint32)
            values = None if measured is None else measured.slice(batch.first, batch.rows.num_rows)
            scores = chosen.scores(batch.rows, values)
            held = None if check is None else check[keyed]
            yield key, held, rows, scores, batch.rows.num_rows, int(batch.alive.sum()), batch.rows.nbytes


def apart(key: np.ndarray, values: pa.Array) -> np.ndarray:
    """Return keys (bands x n) that are equal only where `values` (n) are too."""
    texts = values.cast(pa.string()).to_pylist()
    salts = {text: _salt(text) for text in set(texts)}
    salt = np.array([salts[text] for text in texts], np.uint64)
    mixed = (key ^ salt) * np.uint64(0x9E3779B97F4A7C15)  # spread again: key ranges must stay evenly filled
    return mixed ^ (mixed >> np.uint64(32))


def _salt(text: str | None) -> int:
    return int.from_bytes(blake3(b"" if text is None else b"=" + text.encode()).digest(8), "little")
