"""Whole documents that share a key: keys are joined by sorting, joined documents form clusters, one member stays."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import field_validator, model_validator

from windtunnel.pipelines.dedup._dedup import Add, IndexedDedup, KeyWork, Signed, apart, inputs_of
from windtunnel.pipelines.dedup.matching import choice
from windtunnel.pipelines.dedup.matching.clusters import Cluster, Decide
from windtunnel.pipelines.dedup.matching.join import Join
from windtunnel.pipelines.shards.columns import check_column, column
from windtunnel.pipelines.shards.reader import Batch
from windtunnel.schemas.errors import RecipeError
from windtunnel.schemas.plugin import Plugin, errors_of
from windtunnel.schemas.role import numbered


class KeyedDedup(IndexedDedup):
    """Duplicates are documents that share a key: sign -> join -> cluster -> decide.

    `keep` says which member of a cluster stays: `first`, `longest`, `highest COLUMN` or `lowest COLUMN` (a column of
    the documents, `meta.KEY`, or `why.NAME`: a value that a rule measured before, as in `highest why.quality`).
    With `priority`, members whose `priority_column` has an earlier value of the list win first.
    A cluster with a document of the `index` is dropped as a whole.
    """

    keep: str = "first"
    priority: tuple[str, ...] = ()
    priority_column: str = "source"

    @field_validator("priority_column")
    @classmethod
    def _known_column(cls, name: str) -> str:
        return check_column(name)

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

    def steps(self, add: Add, corpus: str, documents: Any, decisions: Any | None, measures: Sequence[Any] = ()) -> Any:
        read, join = inputs_of(documents, decisions), Join(**self.joining())
        keys = add(f"{self.name}_sign:{corpus}", self.signing(), read | self._measured(measures))
        edges = add(f"{self.name}_join:{corpus}", join, {"keys": keys})
        clusters = add(f"{self.name}_cluster:{corpus}", Cluster(), {"keys": keys, "edges": edges})
        name = f"{self.name}:{corpus}"
        return add(name, Decide(reason=self.name, step=name), {**read, "clusters": clusters})

    def _measured(self, measures: Sequence[Any]) -> dict[str, Any]:
        """Return the measuring steps by role where `keep` needs them; otherwise no key depends on them."""
        if self.choice.measured is None:
            return {}
        if not measures:
            raise RecipeError(
                f"{self.name}: `keep: {self.keep}` asks for a measured value, but nothing is measured before it: give "
                "the corpus `rules:` that measure it (a union does not keep what its corpora measured)"
            )
        return numbered("measures", measures)


class Sign(KeyWork):
    """The keys of documents, and their scores where one is needed to choose."""

    version: ClassVar[int] = 2

    @property
    @abstractmethod
    def method(self) -> KeyedDedup:
        """The method whose keys these are."""

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """Columns that keys are made from."""

    @abstractmethod
    def keys(self, rows: pa.RecordBatch, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return (u64 keys, bands x rows; u64 checks or None; bool, which rows have keys) of a batch."""

    def plugins(self) -> list[Plugin]:
        return [self.method]

    def comparable(self) -> dict[str, Any]:
        return self.method.comparable()

    def reads(self) -> tuple[list[str], list[str]]:
        choice, within = self.method.choice, self.method.within
        columns = [*self.columns, *choice.columns, *([within] if within else [])]
        return columns, [choice.measured] if choice.measured else []

    def sign(self, batch: Batch) -> Signed:
        with errors_of(self.method, "`keys`"):
            key, check, keyed = _checked(*self.keys(batch.rows, batch.alive), batch.rows.num_rows)
        keyed = keyed & batch.alive
        key = key[:, keyed]
        if self.method.within:
            key = apart(key, column(batch.rows, self.method.within).filter(pa.array(keyed)))
        row = (np.flatnonzero(keyed) + batch.first).astype(np.uint32)
        choice = self.method.choice
        measured = (
            batch.measured[choice.measured].to_arrow() if choice.measured and batch.measured is not None else None
        )
        scores = choice.scores(batch.rows, measured)
        return Signed(key, row, None if check is None else check[keyed], scores=scores)

    def notes(self, documents: int, keys: int) -> dict[str, float | int | str]:
        return {"without_key": documents - keys}


def _checked(
    key: np.ndarray, check: np.ndarray | None, keyed: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Return what `keys` returned; raises ValueError unless types and shapes are those that it promises."""
    if not (isinstance(key, np.ndarray) and key.dtype == np.uint64 and key.ndim == 2 and key.shape[1] == rows):
        raise ValueError(f"keys must be uint64 [bands, {rows}], not {_described(key)}")
    if not (check is None or (isinstance(check, np.ndarray) and check.dtype == np.uint64 and check.shape == (rows,))):
        raise ValueError(f"checks must be uint64 [{rows}] or None, not {_described(check)}")
    if not (isinstance(keyed, np.ndarray) and keyed.dtype == np.bool_ and keyed.shape == (rows,)):
        raise ValueError(f"which rows have keys must be bool [{rows}], not {_described(keyed)}")
    return key, check, keyed


def _described(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
